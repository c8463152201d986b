"""Agreement of the people who labeled the same items, for landed tables of any tool."""

from airflow_annotation.labels.agreement.meter import SUMMARY, AgreementMeter, AgreementReport, measure_agreement
from airflow_annotation.labels.tables import AGREEMENT

__all__ = ["AGREEMENT", "SUMMARY", "AgreementMeter", "AgreementReport", "measure_agreement"]
