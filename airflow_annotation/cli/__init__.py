"""What ``airflow annotation`` does on the command line, from Airflow 3.2 on: before, providers cannot add commands."""
