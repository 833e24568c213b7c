"""The Role of the workers is what they use, to the verb (rule: least privilege)."""

from __future__ import annotations

from pathlib import Path

import yaml

from workers.executors.kubernetes.rights import RIGHTS

ACCESS = Path(__file__).parents[2] / "k8s" / "base" / "access.yaml"


def test_the_role_grants_every_verb_that_is_used_and_no_other():
    documents = yaml.safe_load_all(ACCESS.read_text("utf-8"))
    (role,) = [each for each in documents if each["kind"] == "Role"]
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {right[:3] for right in RIGHTS}
