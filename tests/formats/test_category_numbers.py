"""Label Studio's ``category`` is the number of a class, whatever the class is drawn with."""

from __future__ import annotations

import pytest

from airflow_annotation.formats.dataset_options import find_classes
from airflow_annotation.formats.registry import FORMATS, read_options
from airflow_annotation.labels.label_studio.config import label_schema_from_config

BOXES = '<RectangleLabels name="r" toName="image"><Label value="car" category="1"/></RectangleLabels>'
BRUSH = """<BrushLabels name="m" toName="image"><Label value="sky" category="3"/><Label value="road" category="2"/>
</BrushLabels>"""


@pytest.mark.parametrize(
    ("controls", "numbers"),
    [(BOXES, {"car": 1}), (BRUSH, {"road": 2, "sky": 3}), (BOXES + BRUSH, {"car": 1, "road": 2, "sky": 3})],
)
def test_masks_and_boxes_have_the_numbers_that_the_config_says(controls: str, numbers: dict[str, int]) -> None:
    schema = label_schema_from_config(f'<View><Image name="image" value="$image"/>{controls}</View>')
    options, coco = read_options("coco", {}), FORMATS["coco"]
    classes = find_classes(options, schema, coco.field_types(options), coco.types(options))
    assert dict(zip(classes.names, classes.numbers, strict=True)) == numbers
