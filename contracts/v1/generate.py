"""Generate the ``*_pb2`` modules of this package: ``python -m contracts.v1.generate [output directory]``.

The spec ships Python modules but no ``.proto`` files, so its descriptors are handed to protoc as a descriptor set taken
from the installed package: what we import from the spec is by construction what runs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

ROOT = Path(__file__).resolve().parents[2]
PROTOS = sorted(path.relative_to(ROOT).as_posix() for path in Path(__file__).parent.glob("*.proto"))
_IMPORTED = ("chaukas/spec/common/v1/query.proto", "google/protobuf/timestamp.proto")


def _with_dependencies(names: tuple[str, ...]) -> descriptor_pb2.FileDescriptorSet:
    from chaukas.spec.common.v1 import query_pb2
    from google.protobuf import timestamp_pb2

    assert query_pb2.DESCRIPTOR and timestamp_pb2.DESCRIPTOR  # importing them registers their files in the pool
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(name: str) -> None:
        if name not in found:
            file = descriptor_pool.Default().FindFileByName(name)
            for dependency in file.dependencies:
                add(dependency.name)
            proto = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(proto)
            found[name] = proto

    for name in names:
        add(name)
    return descriptor_pb2.FileDescriptorSet(file=found.values())


def generate(output: Path) -> None:
    """Write the generated modules below `output` (as ``contracts/v1/…``). Raises RuntimeError when protoc fails."""
    from grpc_tools import protoc

    with tempfile.NamedTemporaryFile(suffix=".pb") as descriptors:
        descriptors.write(_with_dependencies(_IMPORTED).SerializeToString())
        descriptors.flush()
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={ROOT}",
                f"--descriptor_set_in={descriptors.name}",
                f"--python_out={output}",
                f"--pyi_out={output}",
                *PROTOS,
            ]
        )
        if status:
            raise RuntimeError(f"protoc ended with status {status}")
        services = [proto for proto in PROTOS if proto.endswith(("insights.proto", "store_admin.proto"))]
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={ROOT}",
                f"--descriptor_set_in={descriptors.name}",
                f"--grpc_python_out={output}",
                *services,
            ]
        )
        if status:
            raise RuntimeError(f"protoc (grpc) ended with status {status}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
