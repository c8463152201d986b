"""Converts FiftyOne's labels to rows and back, without FiftyOne. Its labels are documents, as ``to_dict`` returns."""
