"""What the address of an object store looks like."""

SCHEMES = ("s3://", "gs://", "az://")


def is_object_store(uri: str) -> bool:
    return uri.startswith(SCHEMES)
