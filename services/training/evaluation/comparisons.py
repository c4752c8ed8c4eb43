"""Comparisons of two evaluations."""

from dataclasses import dataclass
from functools import partial

from services.common.errors import Conflict, InvalidInput
from services.common.identity import derived_id
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page, now
from services.common.work.ports import Ports
from services.common.work.starts import CallKey, Start, start_once
from services.training.evaluation.predictions import read_predictions
from services.training.evaluation.schemas import CompareRequest, ComparisonList, ComparisonView
from services.training.evaluation.tables import ComparisonRow
from services.training.evaluation.workflow import Evaluations


@dataclass
class Comparisons:
    """The use cases of comparisons. A comparison takes seconds, so that the call computes it at once."""

    ports: Ports
    evaluations: Evaluations

    def compare(self, request: CompareRequest, key: CallKey | None = None) -> ComparisonView:
        """Compare two evaluations; the same request finds the same comparison. Conflict unless both are completed, on
        the same split of the same data set."""
        if request.evaluation_a == request.evaluation_b:
            raise InvalidInput(f"evaluation {request.evaluation_a} is compared with itself")
        comparison_id = derived_id("comparison", request.model_dump_json())
        begin = partial(self._begin, request)
        return self.get(start_once(self.ports.records, comparison_id, key, begin, request))

    def all(self, window: Window = FIRST_PAGE) -> ComparisonList:
        """A page of all comparisons, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, ComparisonRow, window)
            comparisons = [row.result for row in page.rows]
        return ComparisonList(comparisons=comparisons, total=page.total, next_offset=page.next_offset)

    def get(self, comparison_id: str) -> ComparisonView:
        """One comparison. NotFound if there is none."""
        with self.ports.records.reading() as session:
            return get_row(session, ComparisonRow, comparison_id, "comparison").result

    def _begin(self, request: CompareRequest, start: Start) -> None:
        with self.ports.records.reading() as session:
            known = session.get(ComparisonRow, start.task_id) is not None
        result = None if known else self._compare(start.task_id, request)
        with self.ports.records.transaction() as session:
            start.record(session)
            if result is not None:
                row = ComparisonRow(comparison_id=start.task_id, result=result)
                row.evaluation_a, row.evaluation_b = request.evaluation_a, request.evaluation_b
                session.add(row)

    def _compare(self, comparison_id: str, request: CompareRequest) -> ComparisonView:
        from services.training.evaluation.comparison import compare  # it imports scikit-learn, which takes seconds

        a, b = (self.evaluations.manifest(one) for one in (request.evaluation_a, request.evaluation_b))
        if (a.dataset_id, a.split) != (b.dataset_id, b.split):
            raise Conflict(
                f"evaluation {a.evaluation_id} is of {a.split} of {a.dataset_id}, evaluation {b.evaluation_id} of "
                f"{b.split} of {b.dataset_id}; only two of the same split can be compared"
            )
        ours, theirs = (read_predictions(self.ports.blobs, one.predictions) for one in (a, b))
        by_class, macro, micro = compare(ours, theirs, a.network.classes, request.settings)
        return ComparisonView(
            comparison_id=comparison_id,
            evaluation_a=a.evaluation_id,
            evaluation_b=b.evaluation_id,
            dataset_id=a.dataset_id,
            split=a.split,
            patches=len(ours.ids),
            patients=int(ours.patient_numbers.max()) + 1,
            settings=request.settings,
            classes=by_class,
            macro=macro,
            micro=micro,
            created=now(),
        )
