"""What a label is, and how each labeling tool spells it. Pure: no Airflow, no network, no files."""
