"""The gRPC side of the training service: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.training.v1 import training_pb2 as pb
from primitives.training.v1 import training_pb2_grpc

from services.common.grpc import start_key, to_message, to_request
from services.common.grpc.task_methods import PlanMethods, TaskMethods
from services.common.http.streams import Streams
from services.common.paging import Window
from services.training.evaluation.comparisons import Comparisons
from services.training.evaluation.rpc import EvaluationMethods
from services.training.evaluation.workflow import Evaluations
from services.training.imports.rpc import ImportMethods
from services.training.imports.workflow import RawImports
from services.training.schemas import ChangeRunRequest, StartPlanRequest, StartRunRequest
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


class TrainingServicer(EvaluationMethods, ImportMethods, training_pb2_grpc.TrainingServiceServicer):
    """See proto/primitives/training/v1/training.proto."""

    # Seven parameters: the service's use cases, and the streams that they share.
    def __init__(
        self,
        datasets: Datasets,
        runs: Runs,
        plans: Plans,
        evaluations: Evaluations,
        comparisons: Comparisons,
        imports: RawImports,
        streams: Streams,
    ) -> None:
        EvaluationMethods.__init__(self, evaluations, comparisons, streams)
        ImportMethods.__init__(self, imports, streams)
        self._datasets, self._runs, self._plans = datasets, runs, plans
        self._run = TaskMethods(pb.Run, runs.get, runs.act, streams)
        self._plan = PlanMethods(plans.get, plans.act, streams, plans.ended)

    def StartPlan(self, request: pb.StartPlanRequest, context: grpc.ServicerContext) -> pb.StartPlanResponse:
        started = self._plans.start(to_request(request, StartPlanRequest), start_key(context))
        return to_message(started, pb.StartPlanResponse)

    def GetPlan(self, request: pb.GetPlanRequest, _: grpc.ServicerContext) -> pb.GetPlanResponse:
        return self._plan.get(request.plan_id, pb.GetPlanResponse)

    def ListPlans(self, request: pb.ListPlansRequest, _: grpc.ServicerContext) -> pb.ListPlansResponse:
        return to_message(self._plans.all(to_request(request, Window)), pb.ListPlansResponse)

    def PausePlan(self, request: pb.PausePlanRequest, _: grpc.ServicerContext) -> pb.PausePlanResponse:
        return self._plan.act("pause", request.plan_id, pb.PausePlanResponse)

    def ResumePlan(self, request: pb.ResumePlanRequest, _: grpc.ServicerContext) -> pb.ResumePlanResponse:
        return self._plan.act("resume", request.plan_id, pb.ResumePlanResponse)

    def CancelPlan(self, request: pb.CancelPlanRequest, _: grpc.ServicerContext) -> pb.CancelPlanResponse:
        return self._plan.act("cancel", request.plan_id, pb.CancelPlanResponse)

    def WatchPlan(self, request: pb.WatchPlanRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchPlanResponse]:
        yield from self._plan.watch(context, request.plan_id, pb.WatchPlanResponse)

    def ListDatasets(self, request: pb.ListDatasetsRequest, _: grpc.ServicerContext) -> pb.ListDatasetsResponse:
        return to_message(self._datasets.all(to_request(request, Window)), pb.ListDatasetsResponse)

    def GetDataset(self, request: pb.GetDatasetRequest, _: grpc.ServicerContext) -> pb.GetDatasetResponse:
        return pb.GetDatasetResponse(dataset=to_message(self._datasets.get(request.dataset_id), pb.Dataset))

    def StartRun(self, request: pb.StartRunRequest, context: grpc.ServicerContext) -> pb.StartRunResponse:
        started = self._runs.start(to_request(request, StartRunRequest), start_key(context))
        return pb.StartRunResponse(run=to_message(started, pb.Run))

    def GetRun(self, request: pb.GetRunRequest, _: grpc.ServicerContext) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=self._run.get(request.run_id))

    def ListRuns(self, request: pb.ListRunsRequest, _: grpc.ServicerContext) -> pb.ListRunsResponse:
        return to_message(self._runs.all(to_request(request, Window)), pb.ListRunsResponse)

    def ChangeRun(self, request: pb.ChangeRunRequest, _: grpc.ServicerContext) -> pb.ChangeRunResponse:
        run_id = request.run_id
        request.ClearField("run_id")
        run = self._runs.change(run_id, to_request(request, ChangeRunRequest))
        return pb.ChangeRunResponse(run=to_message(run, pb.Run))

    def PauseRun(self, request: pb.PauseRunRequest, _: grpc.ServicerContext) -> pb.PauseRunResponse:
        return pb.PauseRunResponse(run=self._run.act("pause", request.run_id))

    def ResumeRun(self, request: pb.ResumeRunRequest, _: grpc.ServicerContext) -> pb.ResumeRunResponse:
        return pb.ResumeRunResponse(run=self._run.act("resume", request.run_id))

    def CancelRun(self, request: pb.CancelRunRequest, _: grpc.ServicerContext) -> pb.CancelRunResponse:
        return pb.CancelRunResponse(run=self._run.act("cancel", request.run_id))

    def WatchRun(self, request: pb.WatchRunRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchRunResponse]:
        for run in self._run.watch(context, request.run_id):
            yield pb.WatchRunResponse(run=run)
