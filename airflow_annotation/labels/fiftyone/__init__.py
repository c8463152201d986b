"""FiftyOne's labels as rows, and back: pure, without FiftyOne. Its labels are documents, as ``to_dict`` has them."""
