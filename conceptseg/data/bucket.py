"""Roots in a bucket or hub, by fsspec: `s3://`, `gs://`, `az://`, `hf://` and its other kinds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from conceptseg.data.places import About, Place, kept, patiently
from conceptseg.errors import InputError
from conceptseg.extras import missing

SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
SCHEMES |= {"hf": "huggingface_hub", "memory": "fsspec"}
"""Kinds of root -> the package that reads it."""
QUICK = {"GCE_METADATA_DETECT_RETRIES": "1"}
"""Of the environment: that a server of Google's own machines is asked once whether it is there."""
VERSION = (
    "ETag",
    "etag",
    "md5Hash",
    "blob_id",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
"""What says, in the words of a kind of root, which version of a file there is."""


class Bucket(Place):
    """A folder of a bucket. Folders are listed once in a process, with what is known of files."""

    def __init__(self, url: str) -> None:
        super().__init__(url.rstrip("/"))
        self._files: dict[str, dict[str, About]] = {}
        scheme, _, self._top = self.name.partition("://")
        self._system = system(scheme)
        if not self._listed("") and not self._there():
            raise InputError(f"{url}: no such folder; say where the images lie (key root)")

    def about(self, path: str) -> About | None:
        folder, _, name = path.rpartition("/")
        return self._listed(folder).get(name)

    def read(self, path: str) -> bytes:
        data: bytes = self._system.cat_file(self._full(path))
        return data

    def part(self, path: str, start: int, stop: int) -> bytes:
        """Some bytes of a file."""
        data: bytes = self._system.cat_file(self._full(path), start=start, end=stop)
        return data

    def below(self, folder: str) -> list[str]:
        found = self._asked(folder, lambda full: self._system.find(full))
        cut = len(self._system._strip_protocol(self._full(""))) + 1
        return [str(one)[cut:] for one in found]

    def _listed(self, folder: str) -> dict[str, About]:
        if folder not in self._files:
            rows = self._asked(folder, lambda full: self._system.ls(full, detail=True))
            self._files[folder] = {
                str(row["name"]).rstrip("/").rpartition("/")[2]: _about(row)
                for row in rows
                if row.get("type") == "file"
            }
        return self._files[folder]

    def _there(self) -> bool:
        return bool(self._asked("", lambda full: [True] if self._system.exists(full) else []))

    def _asked(self, folder: str, ask: Any) -> list[Any]:
        """What the root says of a folder; nothing where there is none."""
        told: list[Any] = []

        def read() -> bytes:
            try:
                told[:] = list(ask(self._full(folder)))
            except FileNotFoundError:
                told.clear()
            return b""

        patiently(f"{self.name}/{folder}", read)
        return told

    def _full(self, path: str) -> str:
        return f"{self._top}/{path}".rstrip("/")


def located(url: str) -> Path:
    """The folder that stands for a root that is given as a URL.

    Raises :class:`~conceptseg.errors.InputError` for one that cannot be read.
    """
    check_url(url, SCHEMES)
    name = url.rstrip("/")
    return kept(name, lambda: Bucket(name))


def check_url(url: str, schemes: Collection[str]) -> None:
    """Refuse what is no folder of a bucket of some kinds. Raises InputError."""
    scheme, _, rest = url.partition("://")
    if scheme not in schemes:
        known = ", ".join(f"{one}://" for one in schemes if one != "memory")
        raise InputError(f"{url}: {scheme}:// is no kind of root; known are {known}")
    if any(one in rest for one in "?#@") or ".." in rest.split("/") or not rest.strip("/"):
        raise InputError(
            f"{scheme}://: write {scheme}://BUCKET/FOLDER; who you are is read from the "
            "environment, as the package for it does, never from the root"
        )


def _about(row: Mapping[str, Any]) -> About:
    told = [str(row[key]) for key in VERSION if row.get(key)]
    size = int(row.get("size") or 0)
    return About(size, hashlib.sha256(json.dumps([size, *told[:1]]).encode()).hexdigest()[:32])


def system(scheme: str) -> Any:
    """What fsspec has for a kind of root. Raises InputError where its package is missing."""
    for name, value in QUICK.items():
        os.environ.setdefault(name, value)
    try:
        import_module(SCHEMES[scheme])
        import fsspec
    except ImportError:
        raise InputError(missing(f"{scheme}://", SCHEMES[scheme])) from None
    # What was listed is kept here, not twice.
    options = {"use_listings_cache": False, "skip_instance_cache": True}
    try:
        if scheme in ("gs", "gcs"):
            return _google(options)
        made = fsspec.get_filesystem_class(scheme)(**options)
        if scheme in ("az", "abfs"):
            _azure(made)
    except Exception as error:  # each package has errors of its own for what it lacks
        said = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"{scheme}://: {said}; see to the credentials, which the environment gives"
        ) from error
    return made


def _google(options: Mapping[str, Any]) -> Any:
    """Google's storage, asked by whom the environment says, or by nobody, who may read what is
    public.

    Its package would look for a minute for who that is, and for kinds of buckets where files are
    not written one by one.
    """
    import google.auth
    from gcsfs.core import GCSFileSystem

    try:
        google.auth.default()
    except google.auth.exceptions.GoogleAuthError:
        return GCSFileSystem(token="anon", **options)
    return GCSFileSystem(token="google_default", **options)


def _azure(made: Any) -> None:
    """Ask now who we are, where that has to be found out: for each file its package would ask again
    and again, for more than a minute."""
    if type(getattr(made, "credential", None)).__name__ == "DefaultAzureCredential":
        from azure.identity import DefaultAzureCredential

        DefaultAzureCredential().get_token("https://storage.azure.com/.default")
