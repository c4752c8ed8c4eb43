"""The gRPC side of the training service: the same verbs as HTTP."""

import grpc
from primitives.training.v1 import training_pb2 as pb
from primitives.training.v1 import training_pb2_grpc

from services.common.grpc import to_message, to_request
from services.training.schemas import StartPlanRequest, StartRunRequest
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """See proto/primitives/training/v1/training.proto."""

    def __init__(self, datasets: Datasets, runs: Runs, plans: Plans) -> None:
        self._datasets, self._runs, self._plans = datasets, runs, plans

    def StartPlan(self, request: pb.StartPlanRequest, _: grpc.ServicerContext) -> pb.StartPlanResponse:
        return to_message(self._plans.start(to_request(request, StartPlanRequest)), pb.StartPlanResponse)

    def GetPlan(self, request: pb.GetPlanRequest, _: grpc.ServicerContext) -> pb.GetPlanResponse:
        return to_message(self._plans.get(request.plan_id), pb.GetPlanResponse)

    def ListDatasets(self, _: pb.ListDatasetsRequest, __: grpc.ServicerContext) -> pb.ListDatasetsResponse:
        return to_message(self._datasets.all(), pb.ListDatasetsResponse)

    def GetDataset(self, request: pb.GetDatasetRequest, _: grpc.ServicerContext) -> pb.GetDatasetResponse:
        return pb.GetDatasetResponse(dataset=to_message(self._datasets.get(request.dataset_id), pb.Dataset))

    def StartRun(self, request: pb.StartRunRequest, _: grpc.ServicerContext) -> pb.StartRunResponse:
        return pb.StartRunResponse(run=to_message(self._runs.start(to_request(request, StartRunRequest)), pb.Run))

    def GetRun(self, request: pb.GetRunRequest, _: grpc.ServicerContext) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=to_message(self._runs.get(request.run_id), pb.Run))

    def ListRuns(self, _: pb.ListRunsRequest, __: grpc.ServicerContext) -> pb.ListRunsResponse:
        return to_message(self._runs.all(), pb.ListRunsResponse)

    def CancelRun(self, request: pb.CancelRunRequest, _: grpc.ServicerContext) -> pb.CancelRunResponse:
        return pb.CancelRunResponse(run=to_message(self._runs.cancel(request.run_id), pb.Run))
