"""Builds the images: `python cluster/images/build.py cpu gpu --push registry.example`. Python's standard library, and docker with buildx.

A base image is a name with a tag, and is built from by the digest that its registry has for it now; where there is none, nothing is built.
Beside each image lie its bill of materials (CycloneDX) and its provenance (in-toto, SLSA 1), which cosign can attach: cluster/examples.
`--dry-run` writes these and prints the command.
"""

import argparse
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BASE = "docker.io/library/python:3.11-slim-bookworm"
IMAGES = ("cpu", "gpu")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "docker.distribution.manifest.list.v2", "oci.image.manifest.v1", "docker.distribution.manifest.v2")
)


class Refused(Exception):
    """One sentence that says what to do."""


def parts_of(image):
    """'host/name:tag' -> (host, name, tag). A digest in place of the tag is a tag too."""
    name, at, digest = image.partition("@")
    host, slash, path = name.partition("/")
    repository, colon, tag = path.rpartition(":")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        raise Refused(f"{image} names no registry: write it in full, as in {BASE}.")
    if at:
        return host, repository or path, digest
    if not colon or tag in ("", "latest"):
        raise Refused(f"{image} names no version: give it a tag other than latest, as in {BASE}.")
    return host, repository, tag


def digest_of(image, scheme="https"):
    """Ask the registry for the digest that the tag has now."""
    host, repository, tag = parts_of(image)
    if DIGEST.fullmatch(tag):
        return tag
    host = "registry-1.docker.io" if host == "docker.io" else host
    url = f"{scheme}://{host}/v2/{repository}/manifests/{tag}"
    try:
        headers = asked(url)
    except OSError as error:
        raise Refused(f"The digest of {image} is not known ({error}): nothing is built from a tag alone.") from error
    found = headers.get("Docker-Content-Digest", "")
    if not DIGEST.fullmatch(found):
        raise Refused(f"The registry {host} gave no digest for {image}: nothing is built from a tag alone.")
    return found


def asked(url, token=None):
    """HEAD a manifest and return the answer's headers; a registry that wants a token for everybody is asked for one."""
    request = urllib.request.Request(
        url, method="HEAD", headers={"Accept": MANIFESTS} | ({"Authorization": f"Bearer {token}"} if token else {})
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.headers
    except urllib.error.HTTPError as error:
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', error.headers.get("WWW-Authenticate", "")))
        if error.code != 401 or token or "realm" not in wanted:
            raise
        realm = wanted.pop("realm")
    with urllib.request.urlopen(f"{realm}?{urllib.parse.urlencode(wanted)}", timeout=30) as answer:
        return asked(url, json.load(answer)["token"])


def bill_of_materials(constraints, base, digest, commit):
    """CycloneDX 1.6 of what is pinned: every Python package, the base image, this program. What of it an image leaves out is in it too."""
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", constraints, re.MULTILINE)
    packages = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"}
        for name, version in pinned
    ]
    image = {
        "type": "container",
        "name": base.partition("@")[0],
        "version": digest,
        "purl": f"pkg:oci/{parts_of(base)[1].rpartition('/')[2]}@{digest}",
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "artquant-jobs", "version": commit}},
        "components": [image, *packages],
    }


def provenance(name, base, digest, commit, started):
    """Return an in-toto statement with SLSA 1 provenance; whoever has the built image adds the subject's digest."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://github.com/docker/buildx",
                "externalParameters": {"dockerfile": f"cluster/images/Dockerfile.{name.rpartition('-')[2]}", "base": base},
                "resolvedDependencies": [
                    {"uri": base, "digest": {"sha256": digest.partition(":")[2]}},
                    {"uri": "git+file:.", "digest": {"gitCommit": commit}},
                ],
            },
            "runDetails": {"builder": {"id": "cluster/images/build.py"}, "metadata": {"startedOn": started}},
        },
    }


def command(kind, base, digest, commit, out, registry):
    """Return the arguments of the build; times in the image are those of the commit, so that the same source makes the same layers."""
    pinned = f"{base.partition('@')[0].rpartition(':')[0]}@{digest}"
    target = f"type=image,name={registry}/artquant-{kind}:{commit},push=true" if registry else f"type=oci,dest={out}/artquant-{kind}.tar"
    return [
        *("docker", "buildx", "build", "--file", f"cluster/images/Dockerfile.{kind}"),
        *("--build-arg", f"BASE={pinned}", "--build-arg", f"COMMIT={commit}"),
        *("--output", f"{target},rewrite-timestamp=true", "--metadata-file", f"{out}/artquant-{kind}.metadata.json", "."),
    ]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", choices=IMAGES)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--push", metavar="REGISTRY", help="push to REGISTRY/artquant-cpu and so on")
    parser.add_argument("--out", default="build/images", help="where bills of materials, provenance and images without --push go")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--insecure", action="store_true", help="ask the base's registry over http")
    options = parser.parse_args(arguments)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    stamp = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    try:
        digest = digest_of(options.base, "http" if options.insecure else "https")
    except Refused as error:
        print(f"build: {error}", file=sys.stderr)
        return 2
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for kind in options.images:
        name, started = f"artquant-{kind}", datetime.now(UTC).isoformat(timespec="seconds")
        bill = bill_of_materials((ROOT / "constraints.txt").read_text(), options.base, digest, commit)
        (out / f"{name}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")
        statement = provenance(name, options.base, digest, commit, started)
        build = command(kind, options.base, digest, commit, options.out, options.push)
        metadata = out / f"{name}.metadata.json"
        if options.dry_run:
            print(" ".join(build))
        else:
            if done := subprocess.run(["env", f"SOURCE_DATE_EPOCH={stamp}", *build], cwd=ROOT).returncode:
                return done
            made = json.loads(metadata.read_text()).get("containerimage.digest", "")
            statement["subject"][0]["digest"] = {"sha256": made.partition(":")[2]}
            if options.push:  # for the overlay
                print(f"  - name: {name}\n    newName: {options.push}/{name}\n    digest: {made}")
        (out / f"{name}.provenance.json").write_text(json.dumps(statement, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
