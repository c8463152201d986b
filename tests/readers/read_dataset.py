"""Reads a dataset with one of the readers that people use, and prints what is in it as JSON.

Runs in an environment of the readers' own: ``python read_dataset.py READER FOLDER``. Images are named by the first
letter of their file's name, boxes are x, y, width, height in pixels.
"""

# ruff: noqa: T201 - it prints

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 200, 100
Read = dict[str, Any]


def ultralytics(folder: Path, task: str) -> Read:
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(folder / "data.yaml", autodownload=False)
    read: Read = {}
    for labels in YOLODataset(img_path=data["train"], data=data, task=task, augment=False, hyp=get_cfg()).get_labels():
        scale = [WIDTH, HEIGHT, WIDTH, HEIGHT]
        boxes = [[x - w / 2, y - h / 2, w, h] for x, y, w, h in labels["bboxes"].tolist()]
        read[Path(labels["im_file"]).name[0]] = [
            [data["names"][int(class_)], [number * side for number, side in zip(box, scale, strict=True)]]
            for class_, box in zip(labels["cls"].ravel().tolist(), boxes, strict=True)
        ]
        if task in ("segment", "obb"):
            assert len(labels["segments"]) == len(boxes)
        if task == "pose":
            read["keypoints"] = labels["keypoints"].tolist()
    return read


def ultralytics_classify(folder: Path) -> Read:
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import ClassificationDataset

    read = ClassificationDataset(str(folder / "train"), args=get_cfg(overrides={"imgsz": 32}))
    return {Path(sample[0]).name[0]: read.base.classes[sample[1]] for sample in read.samples}


def torchvision_coco(folder: Path) -> Read:
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    coco = CocoDetection(str(folder / "images" / "train"), str(folder / "annotations" / "instances_train.json"))
    names = {one["id"]: one["name"] for one in coco.coco.dataset["categories"]}
    read = {}
    targets = wrap_dataset_for_transforms_v2(coco, target_keys=["boxes", "labels"])
    for number, (_, target) in zip(coco.ids, targets, strict=True):
        boxes = [[x, y, right - x, bottom - y] for x, y, right, bottom in target["boxes"].tolist()]
        classes = [names[label] for label in target["labels"].tolist()]
        read[coco.coco.imgs[number]["file_name"][0]] = [list(pair) for pair in zip(classes, boxes, strict=True)]
    return read


def torchvision_classify(folder: Path) -> Read:
    from torchvision.datasets import ImageFolder

    read = ImageFolder(str(folder / "train"))
    return {Path(path).name[0]: read.classes[place] for path, place in read.samples}


def datumaro(folder: Path, dataset_format: str) -> Read:
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    dataset = Dataset.import_from(str(folder), dataset_format)
    labels = dataset.categories()[AnnotationType.label]
    return {
        item.id[0]: [[labels[one.label].name, [float(number) for number in one.get_bbox()]] for one in item.annotations]
        for item in dataset
    }


def datumaro_mot(folder: Path) -> Read:
    (video,) = (folder / "train").iterdir()
    return datumaro(video, "mot_seq")


def fiftyone(importer: Any) -> Read:
    read = {}
    with importer:
        for path, _, labels in importer:
            boxes = [
                [one.label, [a * b for a, b in zip(one.bounding_box, (WIDTH, HEIGHT) * 2, strict=True)]]
                for one in (labels.detections if labels is not None else ())
            ]
            read[Path(path).name[0]] = boxes
    return read


def fiftyone_coco(folder: Path) -> Read:
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    labels = str(folder / "annotations" / "instances_train.json")
    images = str(folder / "images" / "train")
    return fiftyone(COCODetectionDatasetImporter(data_path=images, labels_path=labels, label_types="detections"))


def fiftyone_yolo(folder: Path) -> Read:
    from fiftyone.utils.yolo import YOLOv5DatasetImporter

    return fiftyone(YOLOv5DatasetImporter(dataset_dir=str(folder), yaml_path=str(folder / "data.yaml"), split="train"))


def fiftyone_voc(folder: Path) -> Read:
    from fiftyone.utils.voc import VOCDetectionDatasetImporter

    return fiftyone(
        VOCDetectionDatasetImporter(data_path=str(folder / "JPEGImages"), labels_path=str(folder / "Annotations"))
    )


def fiftyone_masks(folder: Path) -> Read:
    from fiftyone.utils.data import ImageSegmentationDirectoryImporter

    images, masks = str(folder / "images" / "train"), str(folder / "masks" / "train")
    with ImageSegmentationDirectoryImporter(data_path=images, labels_path=masks, load_masks=True) as importer:
        return {Path(path).name[0]: labels.mask[[0, 30, 80], [0, 30, 150]].tolist() for path, _, labels in importer}


def webdataset(folder: Path) -> Read:
    from webdataset import WebDataset  # type: ignore[import-not-found]

    shards = sorted(map(str, folder.glob("train-*.tar")))
    read = {}
    for key, image, labels in WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("__key__", "jpg", "json"):
        assert image.size == (WIDTH, HEIGHT)
        objects = labels["objects"]
        read[key[0]] = [list(pair) for pair in zip(objects["categories"], objects["bbox"], strict=True)]
    return read


READERS: dict[str, Callable[[Path], Read]] = {
    **{f"ultralytics_{task}": partial(ultralytics, task=task) for task in ("detect", "obb", "segment", "pose")},
    "ultralytics_classify": ultralytics_classify,
    "torchvision_coco": torchvision_coco,
    "torchvision_classify": torchvision_classify,
    **{f"datumaro_{name}": partial(datumaro, dataset_format=name) for name in ("coco_instances", "voc", "yolo")},
    "datumaro_coco_panoptic": partial(datumaro, dataset_format="coco_panoptic"),
    "datumaro_mot": datumaro_mot,
    "fiftyone_coco": fiftyone_coco,
    "fiftyone_yolo": fiftyone_yolo,
    "fiftyone_voc": fiftyone_voc,
    "fiftyone_masks": fiftyone_masks,
    "webdataset": webdataset,
}

if __name__ == "__main__":
    # Importers of FiftyOne need no database, but look for one unless they are told of one.
    os.environ |= {"FIFTYONE_DO_NOT_TRACK": "1", "FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:1", "YOLO_OFFLINE": "1"}
    found = READERS[sys.argv[1]](Path(sys.argv[2]))
    print("\n" + json.dumps(found))
