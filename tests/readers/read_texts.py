"""Reads a dataset of texts or sounds with one of the readers that people use, and prints what is in it as JSON.

Runs in an environment of the readers' own: ``python read_texts.py READER FOLDER``.
"""

# ruff: noqa: T201 - it prints

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def spacy_conll(folder: Path) -> Any:
    """Return the entities of each sentence, as ``spacy convert --converter ner`` finds them."""
    from spacy.training.converters import conll_ner_to_docs

    docs = conll_ner_to_docs((folder / "train.conll").read_text(encoding="utf-8"), n_sents=1, no_print=True)
    return [[[entity.label_, entity.text] for entity in doc.ents] for doc in docs]


def seqeval_conll(folder: Path) -> Any:
    """Return the classes of the entities of each sentence, and the tokens that they are."""
    from seqeval.metrics.sequence_labeling import get_entities

    read = []
    for sentence in (folder / "train.conll").read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split() for line in sentence.splitlines()]
        if rows:
            found = get_entities([tag for _, tag in rows])
            read.append([[label, " ".join(word for word, _ in rows[a : b + 1])] for label, a, b in found])
    return read


def spacy_jsonl(folder: Path) -> Any:
    """Return the entities, the spans and the classes of each text, as spaCy trains with them."""
    import spacy
    import srsly
    from spacy.training import Example

    nlp = spacy.blank("en")
    read = []
    for line in srsly.read_jsonl(folder / "train.jsonl"):
        spans = {"sc": [(span["start"], span["end"], span["label"]) for span in line["spans"]]}
        doc = nlp.make_doc(line["text"])
        example = Example.from_dict(doc, {"entities": line["entities"], "spans": spans, "cats": line["cats"]})
        found = [example.reference.ents, example.reference.spans["sc"]]
        read.append([*([[span.label_, span.text] for span in spans] for spans in found), example.reference.cats])
    return read


def spacy_trains(folder: Path) -> Any:
    """Return the entities that spaCy finds in the texts that it was trained with."""
    import spacy
    import srsly
    from spacy.training import Example

    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    lines = list(srsly.read_jsonl(folder / "train.jsonl"))
    examples = [Example.from_dict(nlp.make_doc(line["text"]), {"entities": line["entities"]}) for line in lines]
    nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples)
    return [[[entity.label_, entity.text] for entity in nlp(line["text"]).ents] for line in lines]


def datasets_audio(folder: Path) -> Any:
    """Return the rate, the number of samples, the transcription and the segments of each sound."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    read = load_dataset("audiofolder", data_dir=str(folder), split="train", cache_dir=str(folder / "cache"))
    rows = []
    for row in read:
        samples = row["audio"].get_all_samples()
        rows.append([samples.sample_rate, samples.data.shape[-1], row["transcription"], row["segments"]])
    return rows


def trl_dpo(folder: Path) -> Any:
    """Train a model with DPO for a step, and return the columns that it was given, and whether they are messages."""
    from datasets import disable_progress_bars, load_dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer
    from trl.data_utils import is_conversational

    disable_progress_bars()
    read = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(folder / "cache"))
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[EOS]": 1, "left": 2, "right": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        eos_token="[EOS]",
        pad_token="[EOS]",
        chat_template="{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}",
    )
    size = GPT2Config(vocab_size=4, n_positions=64, n_embd=8, n_layer=1, n_head=1)
    model, ref_model = GPT2LMHeadModel(size), GPT2LMHeadModel(size)
    settings = DPOConfig(
        output_dir=str(folder / "trained"),
        max_steps=1,
        per_device_train_batch_size=2,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
    )
    trainer = DPOTrainer(
        model=model, ref_model=ref_model, args=settings, train_dataset=read, processing_class=tokenizer
    )
    steps = trainer.train().global_step
    rows = [[row["prompt"], row["chosen"], row["rejected"]] for row in read]
    return {"steps": steps, "is_conversational": is_conversational(read[0]), "rows": rows}


READERS: dict[str, Callable[[Path], Any]] = {
    "spacy_conll": spacy_conll,
    "seqeval_conll": seqeval_conll,
    "spacy_jsonl": spacy_jsonl,
    "spacy_trains": spacy_trains,
    "datasets_audio": datasets_audio,
    "trl_dpo": trl_dpo,
}

if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    print("\n" + json.dumps(READERS[sys.argv[1]](Path(sys.argv[2]))))
