from tests.support.scripted_tool import tool

__all__ = ["tool"]
