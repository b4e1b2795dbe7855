"""Makes a RayJob of the suspended template that is named, follows it, and ends as it ended. Python's standard library alone.

    night.py TEMPLATE        in a pod; NAMESPACE and JOB_NAME, which names the RayJobs, come from the pod itself

Whoever runs it again under the same JOB_NAME follows the RayJob that is there. One that failed is made once more under the next number,
which goes on where it stopped, unless its exit code says that this is no use.
"""

import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NO_RETRY = (2, 3, 4)  # a person is needed; another run is at work; the run is held
ATTEMPTS = 4
POLL_SECONDS = 15.0
QUEUE = "artquant/queue"
OVER = ("Complete", "Failed")


class Api:
    """The RayJobs of one namespace."""

    def __init__(self, address, namespace, token, context=None):
        self.url = f"{address}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        self.token, self.context = token, context

    def ask(self, method, path, body=None):
        """Return the answer's status and document; while nobody answers, or the server is in trouble, ask again."""
        while True:
            headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}
            request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    return error.code, {"message": error.read().decode(errors="replace")[:500]}
                trouble = error
            except OSError as error:
                trouble = error
            print(f"The API server does not answer ({trouble}); asking again", flush=True)
            time.sleep(POLL_SECONDS)


def made_from(template, name):
    """Return the RayJob to create: the template's spec, awake, and in the queue that its annotation names."""
    labels = dict(template["metadata"].get("labels", {}))
    queue = template["metadata"].get("annotations", {}).get(QUEUE)
    if queue:
        labels["kueue.x-k8s.io/queue-name"] = queue
    spec = {key: value for key, value in template["spec"].items() if key != "suspend"}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name, "labels": labels}, "spec": spec}


def exit_code(status):
    """Return 0 for a job that succeeded, its own exit code where the status says it, else 1; None while it is not over."""
    if status.get("jobDeploymentStatus") not in OVER:
        return None
    if status.get("jobStatus") == "SUCCEEDED":
        return 0
    said = re.search(r"exit code:? (\d+)", status.get("message") or "")
    return int(said[1]) if said else 1


def follow(api, name):
    """Wait for the end of a RayJob and return its exit code."""
    last = None
    while True:
        code, job = api.ask("GET", f"/{name}")
        if code != 200:
            print(f"The RayJob {name} is gone: {job.get('message')}", flush=True)
            return 1
        status = job.get("status", {})
        now = (status.get("jobDeploymentStatus"), status.get("jobStatus"))
        if now != last:
            print(f"{name}: {now[0]} {now[1] or ''} {status.get('message') or ''}".rstrip(), flush=True)
            last = now
        if (ended := exit_code(status)) is not None:
            return ended
        time.sleep(POLL_SECONDS)


def night(api, template, prefix):
    """Run the template to its end and return the exit code."""
    code, document = api.ask("GET", f"/{template}")
    if code != 200:
        print(f"There is no RayJob {template} to make one of: {document.get('message')}", file=sys.stderr)
        return 2
    ended = 1
    for attempt in range(1, ATTEMPTS + 1):
        name = f"{prefix}-{attempt}"
        code, answer = api.ask("POST", "", made_from(document, name))
        if code not in (200, 201, 409):  # 409: it is there, and is followed
            print(f"The RayJob {name} was not taken: {answer.get('message')}", file=sys.stderr)
            return 2
        ended = follow(api, name)
        if ended == 0 or ended in NO_RETRY:
            return ended
    return ended


def main():
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    api = Api(f"https://{host}:{port}", os.environ["NAMESPACE"], lambda: (ACCOUNT / "token").read_text(), context)  # the token changes
    return night(api, sys.argv[1], os.environ["JOB_NAME"])


if __name__ == "__main__":
    sys.exit(main())
