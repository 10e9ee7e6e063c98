"""The main job on the 250 real trajectories: in over the API, labelled by two, adjudicated, published, out again."""

import io
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from knox.models import AuthToken
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from statsmodels.stats.inter_rater import fleiss_kappa

from annotator import flow
from annotator.models import User
from tests.factories import make_world

Labels = dict[str, dict[str, int]]


class Api:
    """One person's client of the REST API."""

    def __init__(self, user: User) -> None:
        self.headers = {"Authorization": f"Token {AuthToken.objects.create(user)[1]}"}
        self.client = Client()

    def call(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        data, kind = ("", "") if body is None else (json.dumps(body), "application/json")
        response = self.client.generic(method, f"/api/v1/{path}", data, kind, headers=self.headers)
        assert response.status_code == status, response.content
        return response.json() if response.content else None

    def upload(self, path: str, file: Path) -> Any:
        data = {"file": SimpleUploadedFile(file.name, file.read_bytes())}
        response = self.client.post(f"/api/v1/{path}", data, headers=self.headers)
        assert response.status_code == 202, response.content
        return response.json()

    def download(self, path: str) -> bytes:
        response = self.client.get(f"/api/v1/{path}", headers=self.headers)
        assert response.status_code == 200, path
        return response.getvalue()


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """Records by id; of several with one id the one that was updated last."""
    records: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        key = record.get("record_id") or "{data_source}:{query_index}:{sample_index}".format(**record)
        if key not in records or record.get("updated_at", "") >= records[key]["updated_at"]:
            records[key] = record
    return records


def label_everything(api: Api, records: dict[str, dict[str, Any]]) -> int:
    """Claims until nothing is left, and gives every step the label of its record."""
    for n_done in itertools.count():
        claimed = api.client.post("/api/v1/projects/demo/assignments/claim/", headers=api.headers)
        if claimed.status_code == 204:
            return n_done
        pk = claimed.json()["id"]
        assignment = api.call("GET", f"assignments/{pk}/")
        record = records[assignment["external_id"]]
        labels = [
            {"step": step["index"], "value": record["step_labels"][str(step["message_index"])]}
            for step in assignment["steps"]
        ]
        api.call("PUT", f"assignments/{pk}/labels/", {"labels": labels, "outcome": record["final_label"]})
        api.call("POST", f"assignments/{pk}/submit/")
    raise AssertionError


def krippendorff_alpha(pairs: list[tuple[int, int]], *, is_ordinal: bool) -> float:
    """Written out for two raters and no missing values, straight from the definition."""
    n_of = Counter(value for pair in pairs for value in pair)
    n = sum(n_of.values())
    values = sorted(n_of)

    def delta(c: int, k: int) -> float:
        if not is_ordinal:
            return float(c != k)
        low, high = sorted((c, k))
        between = sum(n_of[g] for g in values if low <= g <= high)
        return (between - (n_of[c] + n_of[k]) / 2) ** 2

    observed = sum(2 * delta(a, b) for a, b in pairs) / n
    expected = sum(n_of[c] * n_of[k] * delta(c, k) for c in values for k in values) / (n * (n - 1))
    return 1 - observed / expected


def first_error(labels: dict[str, int]) -> int | None:
    return min((int(key) for key, value in labels.items() if value == -1), default=None)


@pytest.mark.django_db(transaction=True)
def test_the_main_job_on_real_trajectories(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "agentprocessbench" / "hotpotqa.jsonl"
    gold = read_records(source)
    judge = read_records(shared_data / "agentprocessbench" / "judges" / "GPT-5.2" / "hotpotqa.jsonl")
    world = make_world()
    annotator, second, reviewer, admin = (
        Api(user) for user in (world.annotator, world.second, world.reviewer, world.admin)
    )

    # In.
    job = admin.upload("projects/demo/imports/", source)
    flow.run_job(job["id"])
    job = admin.call("GET", f"jobs/{job['id']}/")
    assert (job["status"], job["result"]["n_trajectories"], job["result"]["n_steps"]) == ("done", 250, 734)

    # Labelled by two who differ.
    assert label_everything(annotator, gold) == 250
    assert label_everything(second, judge) == 250

    # The agreement figures, against an independent computation.
    pairs = [(v, judge[k]["step_labels"][i]) for k, g in gold.items() for i, v in g["step_labels"].items()]
    ours, theirs = (list(side) for side in zip(*pairs, strict=True))
    report = reviewer.call("GET", "projects/demo/agreement/")
    counts = np.array([[pair.count(value) for value in (-1, 0, 1)] for pair in pairs])
    expected = {
        "raw_agreement": np.mean(np.array(ours) == np.array(theirs)),
        "cohen_kappa": cohen_kappa_score(ours, theirs),
        "fleiss_kappa": fleiss_kappa(counts),
        "krippendorff_alpha_nominal": krippendorff_alpha(pairs, is_ordinal=False),
        "krippendorff_alpha_ordinal": krippendorff_alpha(pairs, is_ordinal=True),
        "first_error_agreement": np.mean(
            [first_error(g["step_labels"]) == first_error(judge[k]["step_labels"]) for k, g in gold.items()]
        ),
    }
    for name, value in expected.items():
        assert report[name]["value"] == pytest.approx(value, abs=1e-9), name
        assert report[name]["low"] < value < report[name]["high"], name
        if name in report["pairs"][0]:
            assert report["pairs"][0][name]["value"] == pytest.approx(value, abs=1e-9), name
    assert report["pairs"][0]["confusion"] == confusion_matrix(ours, theirs, labels=[-1, 0, 1]).tolist()

    # Exactly the differing steps are disputes.
    differing = {
        (key, int(index))
        for key, record in gold.items()
        for index, value in record["step_labels"].items()
        if judge[key]["step_labels"][index] != value
    }
    disputes = reviewer.call("GET", "projects/demo/disputes/?target=all&page_size=1000")["results"]
    of_steps = [dispute for dispute in disputes if dispute["step"] is not None]
    assert {(d["trajectory"]["external_id"], d["step"]["message_index"]) for d in of_steps} == differing
    assert len(of_steps) == len(differing) == 205
    of_outcomes = {d["trajectory"]["external_id"] for d in disputes if d["step"] is None}
    assert of_outcomes == {key for key in gold if gold[key]["final_label"] != judge[key]["final_label"]}

    # Adjudicated with the gold value.
    for dispute in disputes:
        record = gold[dispute["trajectory"]["external_id"]]
        step = dispute["step"]
        value = record["final_label"] if step is None else record["step_labels"][str(step["message_index"])]
        decision = {"value": value, "reason_code": "misread"}
        reviewer.call("POST", f"disputes/{dispute['id']}/decisions/", decision, status=201)
    left = reviewer.call("GET", "projects/demo/disputes/?target=all&status=open")
    assert left["count"] == 0

    # Published, and out again with exactly the labels that went in.
    release = admin.call("POST", "projects/demo/releases/", {}, status=201)
    counts_of = admin.call("GET", f"releases/{release['id']}/")["manifest"]["counts"]
    assert (counts_of["n_trajectories"], counts_of["n_steps"]) == (250, 734)
    assert counts_of["by_provenance"] == {"adjudicated": 205, "unanimous": 734 - 205}
    exported = admin.download(f"releases/{release['id']}/export/?format=agentprocessbench")
    assert exported == admin.download(f"releases/{release['id']}/export/?format=agentprocessbench")
    rows = {
        "{data_source}:{query_index}:{sample_index}".format(**row): row
        for row in map(json.loads, io.BytesIO(exported).read().decode().splitlines())
    }
    assert rows.keys() == gold.keys()
    for key, record in gold.items():
        for field in ("step_labels", "final_label", "messages", "tools", "question", "ground_truth", "total_index"):
            assert rows[key][field] == record[field], (key, field)

    # A trainer loads it.
    file = tmp_path / "trl.jsonl"
    file.write_bytes(admin.download(f"releases/{release['id']}/export/?format=trl_stepwise"))
    loaded = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert {"prompt", "completions", "labels"} <= set(loaded.column_names)
    n_errors = sum(value == -1 for record in gold.values() for value in record["step_labels"].values())
    assert sum(not label for labels in loaded["labels"] for label in labels) == n_errors
