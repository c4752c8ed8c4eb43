"""The gRPC side of imports: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.training.v1 import imports_pb2 as pb

from services.common.grpc import start_key, to_message, to_request
from services.common.grpc.task_methods import TaskMethods
from services.common.http.streams import Streams
from services.common.paging import Window
from services.training.imports.schemas import StartImportRequest
from services.training.imports.workflow import RawImports


class ImportMethods:
    """The part of the servicer that imports; see proto/primitives/training/v1/imports.proto."""

    def __init__(self, imports: RawImports, streams: Streams) -> None:
        self._imports = imports
        self._import = TaskMethods(pb.Import, imports.get, imports.act, streams)

    def StartImport(self, request: pb.StartImportRequest, context: grpc.ServicerContext) -> pb.StartImportResponse:
        started = self._imports.start(to_request(request, StartImportRequest), start_key(context))
        return pb.StartImportResponse(task=to_message(started, pb.Import))

    def GetImport(self, request: pb.GetImportRequest, _: grpc.ServicerContext) -> pb.GetImportResponse:
        return pb.GetImportResponse(task=self._import.get(request.import_id))

    def ListImports(self, request: pb.ListImportsRequest, _: grpc.ServicerContext) -> pb.ListImportsResponse:
        return to_message(self._imports.all(to_request(request, Window)), pb.ListImportsResponse)

    def PauseImport(self, request: pb.PauseImportRequest, _: grpc.ServicerContext) -> pb.PauseImportResponse:
        return pb.PauseImportResponse(task=self._import.act("pause", request.import_id))

    def ResumeImport(self, request: pb.ResumeImportRequest, _: grpc.ServicerContext) -> pb.ResumeImportResponse:
        return pb.ResumeImportResponse(task=self._import.act("resume", request.import_id))

    def CancelImport(self, request: pb.CancelImportRequest, _: grpc.ServicerContext) -> pb.CancelImportResponse:
        return pb.CancelImportResponse(task=self._import.act("cancel", request.import_id))

    def WatchImport(
        self, request: pb.WatchImportRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchImportResponse]:
        for task in self._import.watch(context, request.import_id):
            yield pb.WatchImportResponse(task=task)

    def ListImportLayouts(
        self, _request: pb.ListImportLayoutsRequest, _: grpc.ServicerContext
    ) -> pb.ListImportLayoutsResponse:
        return to_message(self._imports.layouts(), pb.ListImportLayoutsResponse)
