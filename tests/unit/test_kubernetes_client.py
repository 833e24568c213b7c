"""Whether a Job is there is told by the API server alone: a Job's creation is believed, or it is not (rule 12)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.settings import Settings
from workers.executors.kubernetes.client import Cluster, ClusterError
from workers.executors.kubernetes.protobuf import MAGIC, MEDIA_TYPE, MESSAGES

BODY = b'{"kind":"Job"}'


class Front:
    """A server that answers every request with what it is told."""

    def __init__(self) -> None:
        self.answer = web.Response()
        self.got: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append(request)
        self.bodies.append(await request.read())
        return self.answer

    def says(self, status: int, words: str | bytes, kind: str = "application/json") -> None:
        body = words.encode() if isinstance(words, str) else words
        self.answer = web.Response(status=status, body=body, content_type=kind)


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture
async def cluster(front: Front, tmp_path: Path) -> AsyncIterator[Cluster]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", front.handle)
    server = TestServer(app)
    await server.start_server()
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": str(server.make_url(""))}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    made = await Cluster.open(Settings(kubeconfig=str(file), kubernetes_namespace="jobs"))
    yield made
    await made.close()
    await server.close()


async def test_a_job_is_sent_as_it_is_and_its_answer_is_asked_to_be_brief(cluster: Cluster, front: Front):
    front.says(201, MAGIC, MEDIA_TYPE)
    await cluster.create_job(BODY)
    (request,) = front.got
    assert (request.method, request.path) == ("POST", "/apis/batch/v1/namespaces/jobs/jobs")
    assert front.bodies == [BODY]
    assert request.headers["Accept"].startswith(f"{MEDIA_TYPE};as=PartialObjectMetadata;")


async def test_a_server_that_speaks_json_alone_answers_in_json(cluster: Cluster, front: Front):
    front.says(201, '{"kind": "PartialObjectMetadata"}')
    await cluster.create_job(BODY)
    assert front.got[0].headers["Accept"].endswith(",application/json")


async def test_a_refusal_says_why_in_the_binary_form_too(cluster: Cluster, front: Front):
    told = {"message": "it is there", "reason": "AlreadyExists", "code": 409}
    inner = MESSAGES["Status"](**told).SerializeToString()
    refused = MAGIC + MESSAGES["Unknown"](typeMeta={"kind": "Status"}, raw=inner).SerializeToString()
    front.says(409, refused, MEDIA_TYPE)
    with pytest.raises(ClusterError) as found:
        await cluster.create_job(BODY)
    assert (found.value.http_status, found.value.message) == (409, "it is there")


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (200, '{"kind": "JobList", "items": []}', "application/json"),
        (201, "<p>Signed in.</p>", "text/html"),
        (200, "<p>Please sign in.</p>", "text/html"),
        (502, "<p>Bad gateway</p>", "text/html"),
    ],
)
async def test_what_is_no_word_of_the_api_servers_made_no_job_and_is_tried_again(
    cluster: Cluster, front: Front, status: int, text: str, kind: str
):
    """Fault row 22."""
    front.says(status, text, kind)
    with pytest.raises(ClusterError) as found:
        await cluster.create_job(BODY)
    assert found.value.passing


async def test_a_refusal_says_why(cluster: Cluster, front: Front):
    front.says(409, '{"kind": "Status", "code": 409, "reason": "AlreadyExists", "message": "it is there"}')
    with pytest.raises(ClusterError) as found:
        await cluster.create_job(BODY)
    assert (found.value.http_status, found.value.reason, found.value.message) == (
        409,
        "AlreadyExists",
        "it is there",
    )
