"""Labels and label schemas, and the format of each labeling tool. Without Airflow, network and files."""
