"""What `artquant --help` and `artquant score --help` print: every setting from the one model that the job reads."""

import shutil
from textwrap import TextWrapper
from typing import Any

from artquant.config import Section, settings_of, takes

JOBS = {
    "score": "score a collection of artworks and write Parquet",
    "train": "retrain on annotations, judge the result, promote it if it is better",
    "describe": "write descriptions of scored artworks, each judged against its score",
    "evaluate": "measure how well a model agrees with people's ratings",
}
COMMANDS = {
    "models": "list the published models, and which one is current",
    "promote": "make a published model current: artquant promote MODEL",
    "rollback": "make the model before the current one current again",
}
OPERATIONS = {
    "plan": "say what a run would do and cost: artquant plan score input=... output=..., or artquant plan describe ...",
    "check": "say all that a training would refuse, without training: artquant check annotations.uri=... annotations.images=...",
    "explain": "what the model looked at, and whether the score comes again: artquant explain OUTPUT ARTWORK",
    "sheet": "how far a person agrees with the judge: artquant sheet check.csv, its column fits filled in with yes and no",
    "snapshots": "history, rollback, release, abandon, forget, compact, clean, delta, metrics, slo: artquant snapshots history OUTPUT",
}
CLUSTER = {
    "status": "list the jobs on the cluster at RAY_ADDRESS: artquant status [ID]",
    "logs": "follow a job, from its first line, and end with its exit code: artquant logs [ID]",
    "stop": "stop a job; the same command goes on where it stopped: artquant stop [ID]",
}
EXAMPLES = {
    "score": "artquant score input=s3://bucket/art output=s3://bucket/scores model=current engine.num_gpus=1",
    "train": "artquant train annotations.uri=ratings.csv annotations.images=art output=out model=current",
    "describe": "artquant describe annotations.uri=ratings.csv annotations.images=art output=out generator.base_url=https://...",
    "evaluate": "artquant evaluate annotations.uri=ratings.csv annotations.images=art output=out",
}
EXIT_CODES = """Exit codes: 0 done; 1 the run failed; 2 something for you to correct; 3 another run has
the output; 4 finished and held, release it or give it up; 5 unknown whether it is
published, run the same again; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
(make turns every failure into 2.)"""


def overview() -> str:
    lines = ["usage: artquant JOB [key=value ...]        artquant JOB --help", "", "Jobs"]
    lines += [f"  {name:<10}{what}" for name, what in JOBS.items()]
    lines += ["", "Commands (--registry URI: s3://bucket/models or a folder; without it, the embedded store's)"]
    lines += [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    lines += ["", "Nights"]
    lines += [f"  {name:<10}{what}" for name, what in OPERATIONS.items()]
    lines += ["", "Clusters (RAY_ADDRESS=http://head:8265)"]
    lines += [f"  {name:<10}{what}" for name, what in CLUSTER.items()]
    return "\n".join([*lines, "", EXIT_CODES, ""])


def job_help(job: str, kind: type[Section]) -> str:
    """List every setting of a job, section by section, with what it takes, its default and its meaning."""
    width = max(60, min(100, shutil.get_terminal_size((80, 24)).columns))
    wrapper = TextWrapper(width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines = [
        f"usage: artquant {job} [config=FILE] [key=value ...]",
        "",
        f"{JOBS[job][0].upper()}{JOBS[job][1:]}.",
        f"  {EXAMPLES[job]}",
        "",
    ]
    lines += ["config=FILE names a YAML file of settings; key=value goes over it, and the last", "one of a key wins."]
    section = "-"
    for key, field, default in settings_of(kind):
        if (parent := key.rpartition(".")[0]) != section:
            section = parent
            lines += ["", section or "settings"]
        default_text = "made for the run" if field.default_factory else "" if default in (None, (), {}) else f"default {typed(default)}"
        line, beside = f"  {key}={takes(field)}", f"   ({default_text})" if default_text else ""
        lines += [line + beside] if len(line + beside) <= width else [line, f"   {beside}"]
        lines += wrapper.wrap(str(field.description))
    return "\n".join([*lines, "", EXIT_CODES, ""])


def typed(value: Any) -> str:
    """Return a default as a person would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(typed, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
