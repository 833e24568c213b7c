"""The manifests let Prometheus find every API pod, where all counters are told, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

BASE = Path(__file__).resolve().parents[2] / "k8s" / "base"


def objects() -> list[dict[str, Any]]:
    found = [each for file in sorted(BASE.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())]
    return [each for each in found if "metadata" in each]


def test_each_api_pod_is_scraped_and_may_be_reached_and_nothing_else_tells_the_same_twice():
    scraped = {}
    for each in objects():
        places = [each.get("metadata", {}), each.get("spec", {}).get("template", {}).get("metadata", {})]
        for place in places:
            if place.get("annotations", {}).get("prometheus.io/scrape"):
                scraped[each["kind"], each["metadata"]["name"]] = place["annotations"]
    assert list(scraped) == [("Deployment", "headrace-api")]
    (found,) = scraped.values()
    assert found["prometheus.io/path"] == "/metrics"
    (deployment,) = [
        each
        for each in objects()
        if each["metadata"]["name"] == "headrace-api" and each["kind"] == "Deployment"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert found["prometheus.io/port"] == str(
        {port["name"]: port["containerPort"] for port in container["ports"]}["http"]
    )
    (policy,) = [each for each in objects() if each["metadata"]["name"] == "api-is-reached"]
    assert policy["spec"]["ingress"] == [{"ports": [{"port": "http"}]}], (
        "from anywhere, Prometheus' namespace too"
    )
