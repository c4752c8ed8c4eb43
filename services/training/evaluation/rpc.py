"""The gRPC side of evaluations and comparisons: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.training.v1 import evaluation_pb2 as pb

from services.common.grpc import start_key, to_message, to_request
from services.common.grpc.task_methods import TaskMethods
from services.common.http.streams import Streams
from services.common.paging import Window
from services.training.evaluation.comparisons import Comparisons
from services.training.evaluation.schemas import CompareRequest, StartEvaluationRequest
from services.training.evaluation.workflow import Evaluations


class EvaluationMethods:
    """The part of the training servicer that evaluates; see proto/primitives/training/v1/evaluation.proto."""

    def __init__(self, evaluations: Evaluations, comparisons: Comparisons, streams: Streams) -> None:
        self._evaluations, self._comparisons = evaluations, comparisons
        self._evaluation = TaskMethods(pb.Evaluation, evaluations.get, evaluations.act, streams)

    def StartEvaluation(
        self, request: pb.StartEvaluationRequest, context: grpc.ServicerContext
    ) -> pb.StartEvaluationResponse:
        started = self._evaluations.start(to_request(request, StartEvaluationRequest), start_key(context))
        return pb.StartEvaluationResponse(evaluation=to_message(started, pb.Evaluation))

    def GetEvaluation(self, request: pb.GetEvaluationRequest, _: grpc.ServicerContext) -> pb.GetEvaluationResponse:
        return pb.GetEvaluationResponse(evaluation=self._evaluation.get(request.evaluation_id))

    def ListEvaluations(
        self, request: pb.ListEvaluationsRequest, _: grpc.ServicerContext
    ) -> pb.ListEvaluationsResponse:
        return to_message(self._evaluations.all(to_request(request, Window)), pb.ListEvaluationsResponse)

    def PauseEvaluation(
        self, request: pb.PauseEvaluationRequest, _: grpc.ServicerContext
    ) -> pb.PauseEvaluationResponse:
        return pb.PauseEvaluationResponse(evaluation=self._evaluation.act("pause", request.evaluation_id))

    def ResumeEvaluation(
        self, request: pb.ResumeEvaluationRequest, _: grpc.ServicerContext
    ) -> pb.ResumeEvaluationResponse:
        return pb.ResumeEvaluationResponse(evaluation=self._evaluation.act("resume", request.evaluation_id))

    def CancelEvaluation(
        self, request: pb.CancelEvaluationRequest, _: grpc.ServicerContext
    ) -> pb.CancelEvaluationResponse:
        return pb.CancelEvaluationResponse(evaluation=self._evaluation.act("cancel", request.evaluation_id))

    def WatchEvaluation(
        self, request: pb.WatchEvaluationRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchEvaluationResponse]:
        for evaluation in self._evaluation.watch(context, request.evaluation_id):
            yield pb.WatchEvaluationResponse(evaluation=evaluation)

    def GetEvaluationReport(
        self, request: pb.GetEvaluationReportRequest, _: grpc.ServicerContext
    ) -> pb.GetEvaluationReportResponse:
        report = self._evaluations.report(request.evaluation_id)
        return pb.GetEvaluationReportResponse(report=to_message(report, pb.EvaluationReport))

    def GetEvaluationFigure(
        self, request: pb.GetEvaluationFigureRequest, _: grpc.ServicerContext
    ) -> pb.GetEvaluationFigureResponse:
        return pb.GetEvaluationFigureResponse(svg=self._evaluations.figure(request.evaluation_id, request.figure))

    def CompareEvaluations(
        self, request: pb.CompareEvaluationsRequest, context: grpc.ServicerContext
    ) -> pb.CompareEvaluationsResponse:
        comparison = self._comparisons.compare(to_request(request, CompareRequest), start_key(context))
        return pb.CompareEvaluationsResponse(comparison=to_message(comparison, pb.Comparison))

    def GetComparison(self, request: pb.GetComparisonRequest, _: grpc.ServicerContext) -> pb.GetComparisonResponse:
        comparison = self._comparisons.get(request.comparison_id)
        return pb.GetComparisonResponse(comparison=to_message(comparison, pb.Comparison))

    def ListComparisons(
        self, request: pb.ListComparisonsRequest, _: grpc.ServicerContext
    ) -> pb.ListComparisonsResponse:
        return to_message(self._comparisons.all(to_request(request, Window)), pb.ListComparisonsResponse)
