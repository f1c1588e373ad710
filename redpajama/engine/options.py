"""Beam's options, checked before any work: each is known, the end point answers, workers can see what they need.

What is said here costs a second; what Beam says of the same takes minutes, or comes as a warning in a log.
"""

import contextlib
import difflib
import io
from collections.abc import Iterable
from urllib.parse import urlsplit

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, _BeamArgumentParser
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.runner import create_runner

from redpajama.engine.reach import check_address, check_scheduler
from redpajama.errors import UserError
from redpajama.raw.io import scheme_of

SECONDS = 8.0  # that an end point has to answer
HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
OF_THIS_PROCESS = ("FnApiRunner", "DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner", "PrismRunner")


def check(arguments: list[str]) -> PipelineOptions:
    """All of Beam's options; its runner is there.

    Raises:
        UserError: a stray word, an option that neither Beam nor the job's end point knows, a value that Beam refuses, a
            runner that is not installed, or an end point that does not answer.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(arguments)
            create_runner(options.view_as(StandardOptions).runner)  # its module brings options of its own
            options.get_all_options()
    except SystemExit:
        raise UserError(f"Beam says: {said.getvalue().strip().rpartition('error: ')[2]}") from None
    except (ValueError, ImportError) as error:
        raise UserError(f"Beam says: {error}") from None
    _check_known(arguments, options)
    if address := options.get_all_options().get("address"):  # of Dask's scheduler
        check_scheduler(address)
    return options


def _check_known(arguments: list[str], options: PipelineOptions) -> None:
    parser = _BeamArgumentParser(allow_abbrev=False, add_help=False)
    for kind in _kinds(PipelineOptions):
        with contextlib.suppress(Exception):  # two kinds may have an option in common
            kind._add_argparse_args(parser)
    known = set(parser._option_string_actions)
    endpoint = options.get_all_options().get("job_endpoint")
    if endpoint and endpoint != "embed":
        known |= {f"--{name}" for name in _described(endpoint)}
    with contextlib.redirect_stderr(io.StringIO()):
        unknown = parser.parse_known_args(arguments)[1]
    for word in unknown:
        if not word.startswith("-"):
            if unknown.index(word) == 0 or unknown[unknown.index(word) - 1].partition("=")[0] not in known:
                raise UserError(f"'{word}': a stray word among Beam's options, which go after --")
        elif (name := word.partition("=")[0]) not in known:
            close = difflib.get_close_matches(name, sorted(known), 1)
            raise UserError(f"{name}: Beam has no such option{f'; did you mean {close[0]}?' if close else ''}")


def _kinds(kind: type[PipelineOptions]) -> Iterable[type[PipelineOptions]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


def _described(endpoint: str) -> list[str]:
    """The options of a job service, which is asked now.

    Raises:
        UserError: it does not answer.
    """
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--job_endpoint={endpoint}: wanted HOST:PORT")
    check_address(host.strip("[]"), int(port), f"--job_endpoint={endpoint}")
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=SECONDS / 2)
            request = beam_job_api_pb2.DescribePipelineOptionsRequest()
            answer = beam_job_api_pb2_grpc.JobServiceStub(channel).DescribePipelineOptions(request, timeout=SECONDS / 2)
        except (grpc.FutureTimeoutError, grpc.RpcError):
            raise UserError(f"--job_endpoint={endpoint}: what answers there is no job service of Beam") from None
    return [option.name for option in answer.options]


def is_elsewhere(options: PipelineOptions) -> bool:
    """Whether workers may run on other machines than this one."""
    known = options.get_all_options()
    runner = str(known.get("runner") or "").rpartition(".")[2]
    if runner in OF_THIS_PROCESS or known.get("environment_type") == "LOOPBACK":
        return False
    if runner == "DaskRunner":
        address = known.get("address") or ""
        return bool(known.get("scheduler_file")) or (bool(address) and urlsplit(address).hostname not in HERE)
    places = [known.get("job_endpoint") or "", known.get("environment_config") or ""]
    return not all(place.rpartition(":")[0] in HERE for place in places)


def check_places(options: PipelineOptions, root: str, inputs: Iterable[str]) -> None:
    """Raises UserError where workers elsewhere are to write to a folder of this machine, or to read one."""
    if not is_elsewhere(options):
        return
    runner = str(options.get_all_options().get("runner")).rpartition(".")[2]
    advice = "name an address that all see (s3://, gs://), or say --shared-files if it is a file system that all share"
    if scheme_of(root) in ("", "file"):
        raise UserError(
            f"{root}: the workers of {runner} may run on other machines, which do not see this folder; {advice}"
        )
    for path in inputs:
        if scheme_of(path) in ("", "file"):
            raise UserError(f"{path}: the workers of {runner} may run on other machines and read it there; {advice}")
