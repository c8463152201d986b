from __future__ import annotations

import pytest

from devtools.label_studio import LabelStudio
from tests.dags.people import LabelboxPeople, LabelStudioPeople, People
from tests.servers.labelbox.process import LabelboxProcess


@pytest.fixture(params=["label_studio", "labelbox"])
def people(request: pytest.FixtureRequest, label_studio: LabelStudio, labelbox_process: LabelboxProcess) -> People:
    """Those who label, in each of the tools."""
    return LabelStudioPeople(label_studio) if request.param == "label_studio" else LabelboxPeople(labelbox_process)
