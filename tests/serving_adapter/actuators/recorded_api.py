"""A small server that answers like the Kubernetes API, from recorded shapes, and fails on demand.

It keeps Deployments and their pods, makes pods ready after some looks, and answers the first calls
of a verb with what `script` says: a status, "hang", or "lost" (done, but the answer never comes).
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter, defaultdict

from aiohttp import web

TEMPLATE = {
    "apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "template", "namespace": "serving", "uid": "0"},
    "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "template"}},
        "template": {
            "metadata": {"labels": {"app": "engine"}},
            "spec": {"containers": [{
                "name": "engine", "image": "engine:1",
                "args": ["--model", "tiny", "--tensor-parallel-size", "8"],
                "resources": {"limits": {"memory": "64Gi"}},
            }]},
        },
    },
}  # fmt: skip


def merge(into, patch):
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def refusal(status, reason=""):
    reason = reason or {404: "NotFound", 409: "Conflict"}.get(status, "InternalError")
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
            "message": f"recorded {reason}", "code": status}  # fmt: skip
    return web.json_response(body, status=status)


class RecordedApi:
    def __init__(self, looks_until_ready=1, waiting_reason=""):
        self.deployments = {"template": copy.deepcopy(TEMPLATE)}
        self.pods = {}
        self.script = defaultdict(list)
        self.calls = []
        self.looks = Counter()
        self.looks_until_ready = looks_until_ready
        self.waiting_reason = waiting_reason
        self.number = 0

    def application(self):
        app = web.Application()
        apps, core = "/apis/apps/v1/namespaces/serving", "/api/v1/namespaces/serving"
        named = apps + "/deployments/{name}"
        app.router.add_get(apps + "/deployments", self.told("list"))
        app.router.add_post(apps + "/deployments", self.told("create"))
        app.router.add_get(named, self.told("read"))
        app.router.add_patch(named, self.told("patch"))
        app.router.add_delete(named, self.told("delete"))
        app.router.add_patch(named + "/scale", self.told("scale"))
        app.router.add_get(core + "/pods", self.told("list_pods"))
        app.router.add_patch(core + "/pods/{name}", self.told("label"))
        return app

    def told(self, verb):
        async def handler(request):
            self.calls.append(verb)
            fault = self.script[verb].pop(0) if self.script[verb] else None
            if isinstance(fault, int):
                return refusal(fault)
            if fault == "hang":
                await asyncio.sleep(60)
            body = await request.json() if request.can_read_body else {}
            answer = getattr(self, verb)(request, body)
            if fault == "lost":
                await asyncio.sleep(60)
            return answer if isinstance(answer, web.Response) else web.json_response(answer)

        return handler

    def list(self, request, _):
        key, value = request.query["labelSelector"].split("=")
        items = [d for d in self.deployments.values()
                 if d["metadata"].get("labels", {}).get(key) == value]  # fmt: skip
        return {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": items}

    def create(self, _, body):
        name = body["metadata"]["name"]
        if name in self.deployments:
            return refusal(409, "AlreadyExists")
        self.number += 1
        body["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{self.number:02d}Z"
        self.deployments[name] = body
        self.pod_of(body)
        return body

    def pod_of(self, deployment):
        name = deployment["metadata"]["name"]
        template = copy.deepcopy(deployment["spec"]["template"])
        self.pods[name + "-x"] = {"metadata": {"name": name + "-x", **template["metadata"]},
                                  "spec": template["spec"], "status": {}}  # fmt: skip

    def read(self, request, _):
        return self.deployments.get(request.match_info["name"]) or refusal(404)

    def patch(self, request, body):
        found = self.deployments.get(request.match_info["name"])
        if found is None:
            return refusal(404)
        merge(found, body)
        return found

    def delete(self, request, _):
        gone = self.deployments.pop(request.match_info["name"], None)
        return {"kind": "Status", "status": "Success"} if gone else refusal(404)

    def scale(self, request, body):
        name = request.match_info["name"]
        if name not in self.deployments:
            return refusal(404)
        merge(self.deployments[name], body)
        self.pods.pop(name + "-x", None)
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": name}}

    def look_at(self, pod):
        name = pod["metadata"]["name"]
        self.looks[name] += 1
        if self.waiting_reason:
            waiting = {"waiting": {"reason": self.waiting_reason}}
            last = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
            status = {"name": "engine", "state": waiting, "lastState": last, "ready": False,
                      "image": "engine:1", "imageID": "", "restartCount": 3}  # fmt: skip
            pod["status"] = {"containerStatuses": [status]}
        elif self.looks[name] > self.looks_until_ready:
            ready = [{"type": "Ready", "status": "True"}]
            pod["status"] = {"podIP": "127.0.0.1", "conditions": ready}

    def list_pods(self, request, _):
        key, value = request.query["labelSelector"].split("=")
        items = [p for p in self.pods.values() if p["metadata"]["labels"].get(key) == value]
        for pod in items:
            self.look_at(pod)
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}

    def label(self, request, body):
        pod = self.pods.get(request.match_info["name"])
        if pod is None:
            return refusal(404)
        merge(pod, body)
        return pod
