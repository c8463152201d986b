"""The command ``airflow annotation``, from Airflow 3.2 on. Before 3.2, providers cannot add commands."""
