"""Label Studio's ``category`` is the number of a class, whatever the class is drawn with."""

from __future__ import annotations

import pytest

from airflow_annotation.formats.dataset_options import find_classes, rename_fields
from airflow_annotation.formats.registry import IMAGE_FORMATS, read_options
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
    options, coco = read_options("coco", {}), IMAGE_FORMATS["coco"]
    classes = find_classes(options, schema, coco.field_types(options), coco.types(options))
    assert dict(zip(classes.names, classes.numbers, strict=True)) == numbers


OTHER_BRUSH = '<BrushLabels name="o" toName="image"><Label value="zebra" category="{}"/></BrushLabels>'


@pytest.mark.parametrize(("category", "numbers"), [(1, [1, 2, 3]), (2, [])])
def test_merged_fields_number_their_classes_where_they_agree(category: int, numbers: list[int]) -> None:
    controls = BRUSH + OTHER_BRUSH.format(category)
    schema = label_schema_from_config(f'<View><Image name="image" value="$image"/>{controls}</View>')
    merged = rename_fields(schema, {"m": "areas", "o": "areas"})
    options, masks = read_options("semantic_masks", {}), IMAGE_FORMATS["semantic_masks"]
    classes = find_classes(options, merged, masks.field_types(options), masks.types(options))
    assert list(classes.numbers) == numbers
    assert classes.names == (("zebra", "road", "sky") if numbers else ("road", "sky", "zebra"))
