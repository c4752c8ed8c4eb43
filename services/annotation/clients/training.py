"""Client of the training service, for the pages of runs."""

from primitives.training.v1.training_pb2 import ListRunsResponse, Run
from starlette.responses import Response

from services.annotation.clients.http import ServiceClient, id_in_path
from services.common.http.streams import HEADERS
from services.common.paging import FIRST_PAGE, Window
from services.common.settings import Shared


class TrainingService(ServiceClient):
    """Reads runs and streams their progress."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        super().__init__("training service", base_url, shared)

    def runs(self, window: Window = FIRST_PAGE) -> ListRunsResponse:
        """A page of all runs, newest first."""
        return self.get("/v1/runs", ListRunsResponse, window.model_dump())

    def run(self, run_id: str) -> Run:
        """One run. NotFound if it does not exist."""
        return self.get(f"/v1/runs/{id_in_path('run', run_id)}", Run)

    async def events(self, run_id: str, last_event_id: str) -> Response:
        """The server-sent events of a run, passed on while they arrive. NotFound if the run does not exist."""
        path = f"/v1/runs/{id_in_path('run', run_id)}/events"
        answer = await self.stream(path, {"last-event-id": last_event_id}, ("content-type",))
        answer.headers.update(HEADERS)
        return answer
