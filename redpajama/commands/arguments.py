"""The arguments that commands share, and how they are read."""

from typing import TYPE_CHECKING, Annotated

import typer

from redpajama.errors import UserError

if TYPE_CHECKING:
    from redpajama.engine.store import Store
    from redpajama.manifest import Manifest

ManifestArgument = Annotated[str, typer.Argument(metavar="MANIFEST", help="the manifest, a TOML file")]
RootArgument = Annotated[str, typer.Argument(metavar="ROOT", help="where the build lies")]
OutOption = Annotated[str, typer.Option("--out", metavar="ROOT", help="where outputs go: a folder, s3:// or gs://")]
MirrorOption = Annotated[
    list[str] | None, typer.Option("--mirror", metavar="PREFIX=DIR", help="read URLs that start so from DIR instead")
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]
BuildOption = Annotated[str, typer.Option("--build", metavar="NAME", help="which build, where ROOT has several")]
SoleWriterOption = Annotated[
    bool, typer.Option("--sole-writer", help="no other build writes to ROOT: of stores that cannot see to it")
]


def load(path: str) -> "Manifest":
    """The manifest at `path`, with everything that can be wrong in it checked.

    Raises:
        ManifestError: one line that names the key.
    """
    from redpajama import manifest, preflight

    model = manifest.load(path)
    preflight.check(model, path)
    return preflight.complete(model)


def mirrors(pairs: list[str] | None) -> dict[str, str]:
    """{prefix of URLs: folder} from `PREFIX=DIR` texts.

    Raises:
        UserError: one is not of that form.
    """
    for pair in pairs or []:
        if not all(pair.partition("=")):
            raise UserError(f"--mirror {pair}: write PREFIX=DIR, for example https://data.commoncrawl.org/=/mnt/cc/")
    return dict(pair.split("=", 1) for pair in pairs or [])


def open_root(root: str) -> "Store":
    """The store at ROOT, which has had a build.

    Raises:
        UserError: it has had none, or one of another layout.
    """
    from redpajama.engine.store import Store, check_layout

    store = Store(root)
    check_layout(store)
    if not store.exists("builds") and not store.exists(".tmp"):
        raise UserError(f"{root}: no finished build is here")
    return store
