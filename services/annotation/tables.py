"""The database tables of the annotation service."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.blobs import ObjectRef
from services.common.records import (
    Reference,
    TaskColumns,
    UtcTime,
    idempotency_keys_table,
    leases_table,
    now,
    outbox_table,
)


class Base(DeclarativeBase):
    """Declarative base of this service alone."""


outbox_table(Base.metadata)
leases_table(Base.metadata)
idempotency_keys_table(Base.metadata)


class ReceivedRenderingRow(Base):
    """A rendering whose completion this service has received."""

    __tablename__ = "renderings"

    rendering_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    manifest: Mapped[ObjectRef] = mapped_column(Reference)
    received: Mapped[datetime] = mapped_column("told", UtcTime, default=now)
    """When the event arrived. The column has an older name, which a rolling upgrade still reads."""


class StudyRow(TaskColumns, Base):
    """A study. Opening it fills in the columns that describe its data, from `architecture` on."""

    __tablename__ = "studies"
    __table_args__ = (Index("ix_studies_newest", "created", "study_id"),)

    study_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan_id: Mapped[str] = mapped_column(String(64), default="", index=True)
    rendering_id: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(200))
    units_per_class: Mapped[int] = mapped_column(Integer)
    labels_shown: Mapped[str] = mapped_column(String(16))
    architecture: Mapped[str] = mapped_column(String(200), default="")
    dataset: Mapped[str] = mapped_column(String(200), default="")
    notice: Mapped[str] = mapped_column(Text, default="")
    classes: Mapped[list[str]] = mapped_column(JSON, default=list)
    extraction_id: Mapped[str] = mapped_column(String(64), default="", server_default="", index=True)
    members_only: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether only the readers in `members` see the study; otherwise all readers do."""
    read_by_protocol: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether the study has a protocol. Its lists of units are then closed to readers."""
    list_reveals: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether a reader who has answered the whole list sees all labels. This holds for every study that was opened to
    show them then, also if it shows them after each answer now: what a reader has seen is never withheld again."""
    shards: Mapped[list[list[str]] | None] = mapped_column(JSON(none_as_null=True))
    """Bucket and key of the data set's shards with the patches of the pictures. Null in older studies."""


class LayerRow(Base):
    """A layer of a study. `in_subset` and `in_ranking` count the units of these lists that can be answered."""

    __tablename__ = "layers"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    layer: Mapped[str] = mapped_column(String(200), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    units: Mapped[int] = mapped_column(Integer)
    silent: Mapped[int] = mapped_column(Integer)
    in_subset: Mapped[int] = mapped_column(Integer)
    in_ranking: Mapped[int] = mapped_column(Integer)
    ranking_method: Mapped[str] = mapped_column(String(32))


class UnitRow(Base):
    """A unit. `pictures` are the rendering's pictures by rank, as `picture.encode_pictures` writes them; `positives` is
    the number of the first 8 whose patch is of the last class. `sources` has, as `picture.encode_sources` writes them,
    where the patch of each picture is stored; it is null in older studies."""

    __tablename__ = "units"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "layer"], ["layers.study_id", "layers.layer"]),
        Index(
            "ix_units_listed", "study_id", "layer", "unit", "silent", "in_subset", "in_ranking", "positives"
        ),  # all that lists need, without the pictures
    )

    study_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    layer: Mapped[str] = mapped_column(String(200), primary_key=True)
    unit: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    silent: Mapped[bool] = mapped_column(Boolean)
    best: Mapped[float] = mapped_column(Float)
    in_subset: Mapped[bool] = mapped_column(Boolean)
    in_ranking: Mapped[bool] = mapped_column(Boolean)
    positives: Mapped[int] = mapped_column(Integer)
    statistics: Mapped[dict[str, Any]] = mapped_column(JSON)
    pack_bucket: Mapped[str] = mapped_column(String(63))
    pack_key: Mapped[str] = mapped_column(Text)
    sheet_offset: Mapped[int] = mapped_column(BigInteger)
    sheet_size: Mapped[int] = mapped_column(BigInteger)
    pictures: Mapped[str] = mapped_column(Text)
    sources: Mapped[str | None] = mapped_column(Text)


class RankRow(Base):
    """The rank of a unit for a class."""

    __tablename__ = "ranks"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "layer"], ["layers.study_id", "layers.layer"]),
        Index("ix_ranks_unit", "study_id", "layer", "unit"),
    )

    study_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    layer: Mapped[str] = mapped_column(String(200), primary_key=True)
    label: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rank: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    unit: Mapped[int] = mapped_column(Integer)
    score: Mapped[float] = mapped_column(Float)
    count: Mapped[int | None] = mapped_column(BigInteger)


class MammogramRow(Base):
    """A mammogram that pictures of a study were cut from. Its number is random and so reveals nothing about its name,
    which may contain the pathology."""

    __tablename__ = "mammograms"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text)
    side: Mapped[str] = mapped_column(String(32))
    view: Mapped[str] = mapped_column(String(32))
    height: Mapped[int] = mapped_column(Integer)
    width: Mapped[int] = mapped_column(Integer)
    preview_bucket: Mapped[str] = mapped_column(String(63))
    preview_key: Mapped[str] = mapped_column(Text)
    source_key: Mapped[str | None] = mapped_column(Text)
    """The full mammogram, in the bucket of the preview. Null in older studies."""


class ReaderRow(Base):
    """A reader; `name_key` is the form in which the name is unique."""

    __tablename__ = "readers"

    reader_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    name_key: Mapped[str] = mapped_column(String(320), unique=True)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)


class MemberRow(Base):
    """A reader who sees a study that is for its members only."""

    __tablename__ = "members"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"), primary_key=True, index=True)


class SessionRow(Base):
    """A session of a reader in a browser. `sees_units`: whether the reader may use the unit browser. Only the browser's
    cookie has the session's token. `access_sha256` is the hash of the access token that opened the session, if any."""

    __tablename__ = "sessions"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"), index=True)
    created: Mapped[datetime] = mapped_column(UtcTime)
    seen: Mapped[datetime] = mapped_column(UtcTime)
    sees_units: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    access_sha256: Mapped[str] = mapped_column(String(64), default="", server_default="")
    account_id: Mapped[str] = mapped_column(String(64), default="", server_default="", index=True)
    """The account that the reader signed in to, if any."""
    browser: Mapped[str] = mapped_column(String(200), default="", server_default="")
    """What the browser calls itself, for the list of one's own sessions."""


class AccountRow(Base):
    """The account of a reader. `name_key` is that of the reader: the name to sign in with."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("issuer", "subject", name="uq_accounts_subject"),)

    account_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"), unique=True)
    name_key: Mapped[str] = mapped_column(String(320), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    """`invited` until somebody accepts the first invitation, then `enabled`, or `disabled` by an administrator."""
    password_hash: Mapped[str] = mapped_column(Text, default="")
    """argon2id with salt and parameters; empty if the account has no password."""
    issuer: Mapped[str | None] = mapped_column(String(200))
    subject: Mapped[str | None] = mapped_column(String(255))
    """Who this is at the OpenID provider, if the account is linked to it."""
    created: Mapped[datetime] = mapped_column(UtcTime)
    signed_in: Mapped[datetime | None] = mapped_column(UtcTime)


class InvitationRow(Base):
    """An invitation to an account: to choose its first password, or a new one. Only the link has the token."""

    __tablename__ = "invitations"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    created: Mapped[datetime] = mapped_column(UtcTime)
    expires: Mapped[datetime] = mapped_column(UtcTime)
    used: Mapped[datetime | None] = mapped_column(UtcTime)


class SignInAttemptsRow(Base):
    """The failed attempts to sign in under a name or from an address, which is hashed: people type passwords into the
    field of the name."""

    __tablename__ = "sign_in_attempts"

    key_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last: Mapped[datetime] = mapped_column(UtcTime, index=True)
    delayed_until: Mapped[datetime] = mapped_column(UtcTime)


class ProviderSignInRow(Base):
    """A sign-in that has begun at the OpenID provider. Only the browser's cookie has the state."""

    __tablename__ = "provider_sign_ins"

    state_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(64))
    verifier: Mapped[str] = mapped_column(String(128))
    target: Mapped[str] = mapped_column(Text)
    """The address of ours that the browser goes to afterwards."""
    invitation_sha256: Mapped[str] = mapped_column(String(64), default="")
    created: Mapped[datetime] = mapped_column(UtcTime, index=True)


class AnswerColumns:
    """A reader's answer to a unit. `after_reveal`: whether the reader could see the classes of its patches before this
    version was saved. `imported`: whether it was given elsewhere and imported by the study's owner."""

    recognizable: Mapped[str] = mapped_column(String(16))
    associated: Mapped[str] = mapped_column(String(16))
    multiplicity: Mapped[str] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    saved: Mapped[datetime] = mapped_column(UtcTime)
    after_reveal: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    imported: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())


class ResponseRow(AnswerColumns, Base):
    """The current answer of one reader to one unit."""

    __tablename__ = "responses"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "layer", "unit"], ["units.study_id", "units.layer", "units.unit"]),
        Index("ix_responses_by_reader", "reader_id", "study_id", "layer", "unit"),
        Index("ix_responses_latest", "reader_id", "saved"),
    )

    study_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    layer: Mapped[str] = mapped_column(String(200), primary_key=True)
    unit: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"), primary_key=True, index=True)


class ResponseLogRow(AnswerColumns, Base):
    """Every answer that was ever saved, in that order. Rows are only added."""

    __tablename__ = "response_log"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "layer", "unit"], ["units.study_id", "units.layer", "units.unit"]),
        Index("ix_response_log_key", "reader_id", "idempotency_key"),
    )

    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    study_id: Mapped[str] = mapped_column(String(64))
    layer: Mapped[str] = mapped_column(String(200))
    unit: Mapped[int] = mapped_column(Integer)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"))
    idempotency_key: Mapped[str] = mapped_column(String(64))


class ProtocolRow(Base):
    """A version of the protocol of a study. `document` is the text whose hash is `sha256`; it never changes."""

    __tablename__ = "protocols"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(200))
    document: Mapped[str] = mapped_column(Text)
    items: Mapped[int] = mapped_column(Integer)
    opened: Mapped[datetime] = mapped_column(UtcTime, default=now)
    closed: Mapped[datetime | None] = mapped_column(UtcTime)


class ProtocolReaderRow(Base):
    """A reader of a protocol. Readers are pseudonyms to each other and in exports; `active` is the time of the last
    call, from which leases count."""

    __tablename__ = "protocol_readers"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "version"], ["protocols.study_id", "protocols.version"]),
        UniqueConstraint("study_id", "version", "pseudonym"),
    )

    study_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"), primary_key=True, index=True)
    pseudonym: Mapped[str] = mapped_column(String(16))
    active: Mapped[datetime] = mapped_column(UtcTime, default=now)


class ItemRow(Base):
    """An item of a protocol: a unit, or a sham unit, which has no `unit`. `shown` has the channel and the rank of each
    picture. `part` is 1 or 2 if the unit is read in two parts, each with a group of its patches."""

    __tablename__ = "items"
    __table_args__ = (ForeignKeyConstraint(["study_id", "version"], ["protocols.study_id", "protocols.version"]),)

    study_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    item: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    layer: Mapped[str] = mapped_column(String(200))
    unit: Mapped[int | None] = mapped_column(Integer)
    shown: Mapped[list[list[int]]] = mapped_column(JSON)
    part: Mapped[int | None] = mapped_column(Integer)


class ReadingRow(Base):
    """One reading of an item: by whom, at which position of the reader's list, and the current answers.

    `reading_id` is random, so that no address distinguishes shams and repeats from other units. `second_answer` is the
    answer after the reveal, which locks `answer`. Versions count saved answers of both kinds.
    """

    __tablename__ = "readings"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "version", "item"], ["items.study_id", "items.version", "items.item"]),
        UniqueConstraint("study_id", "version", "item", "slot"),
        UniqueConstraint("study_id", "version", "reader_id", "item", "is_repeat"),
        Index("ix_readings_of_reader", "study_id", "version", "reader_id", "position"),
        Index("ix_readings_by_state", "study_id", "version", "reader_id", "state", "position"),
    )

    reading_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_id: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    item: Mapped[int] = mapped_column(Integer)
    slot: Mapped[int] = mapped_column(Integer)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"), index=True)
    position: Mapped[int] = mapped_column(Integer)
    is_repeat: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    second_answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    draft: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    answer_version: Mapped[int] = mapped_column(Integer, default=0)
    shown: Mapped[datetime | None] = mapped_column(UtcTime)
    submitted: Mapped[datetime | None] = mapped_column(UtcTime)
    revealed: Mapped[datetime | None] = mapped_column(UtcTime)
    first_action_s: Mapped[float | None] = mapped_column(Float)
    """Seconds from the display to the first key or click, as the browser measured them."""
    active_s: Mapped[float | None] = mapped_column(Float)
    """Seconds from the display to the answer, without idle time, as the browser measured them."""


class ReadingLogRow(Base):
    """Everything that a reader sent about a reading, in that order: answers, drafts and skips. Rows are only added."""

    __tablename__ = "reading_log"
    __table_args__ = (Index("ix_reading_log_key", "reading_id", "idempotency_key"),)

    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    reading_id: Mapped[str] = mapped_column(ForeignKey("readings.reading_id"))
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"))
    kind: Mapped[str] = mapped_column(String(16))
    content: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    answer_version: Mapped[int] = mapped_column(Integer)
    saved: Mapped[datetime] = mapped_column(UtcTime, default=now)
    idempotency_key: Mapped[str] = mapped_column(String(64))


class UnitLabelRow(Base):
    """A label that an adjudicator gave a unit of a protocol. Rows are only added; the newest counts."""

    __tablename__ = "unit_labels"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "version", "item"], ["items.study_id", "items.version", "items.item"]),
    )

    study_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    item: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    label_version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    answers: Mapped[dict[str, Any]] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text)
    adjudicator_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"))
    saved: Mapped[datetime] = mapped_column(UtcTime, default=now)


class GameRow(Base):
    """A game of a study, about units of a version of its protocol. `content` is the text whose hash is `sha256`; it
    never changes."""

    __tablename__ = "games"
    __table_args__ = (ForeignKeyConstraint(["study_id", "version"], ["protocols.study_id", "protocols.version"]),)

    game_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_id: Mapped[str] = mapped_column(String(64), index=True)
    version: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(String(200))
    instructions: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float] = mapped_column(Float)
    opened: Mapped[datetime] = mapped_column(UtcTime, default=now)
    closed: Mapped[datetime | None] = mapped_column(UtcTime)


class GameReaderRow(Base):
    """A reader of a game, under a pseudonym. The row is locked while a trial of the reader opens."""

    __tablename__ = "game_readers"
    __table_args__ = (UniqueConstraint("game_id", "pseudonym"),)

    game_id: Mapped[str] = mapped_column(ForeignKey("games.game_id"), primary_key=True)
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"), primary_key=True, index=True)
    pseudonym: Mapped[str] = mapped_column(String(16))


class TrialRow(Base):
    """A trial of a game for one reader. `trial_id` is random, so that no address shows the unit or the right answer.

    `shown` has the channel and the rank of each patch, in order. `right_place` and `choice` count from 1. A trial
    is opened once, and answered once.
    """

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("game_id", "reader_id", "position"),
        UniqueConstraint("game_id", "reader_id", "item"),
    )

    trial_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    game_id: Mapped[str] = mapped_column(ForeignKey("games.game_id"))
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"))
    position: Mapped[int] = mapped_column(Integer)
    item: Mapped[int] = mapped_column(Integer)
    layer: Mapped[str] = mapped_column(String(200))
    unit: Mapped[int] = mapped_column(Integer)
    description: Mapped[str] = mapped_column(Text)
    shown: Mapped[list[list[int]]] = mapped_column(JSON)
    right_place: Mapped[int] = mapped_column(Integer)
    known: Mapped[bool] = mapped_column(Boolean)
    """Whether the reader had read the unit, or settled its label, when the game was opened."""
    opened: Mapped[datetime | None] = mapped_column(UtcTime)
    answered: Mapped[datetime | None] = mapped_column(UtcTime)
    choice: Mapped[int | None] = mapped_column(Integer)
    late: Mapped[bool] = mapped_column(Boolean, default=False)


class TrialLogRow(Base):
    """What happened to trials, in that order: `opened`, and `answer` or `late` with the choice. Rows are only added."""

    __tablename__ = "trial_log"

    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.trial_id"))
    reader_id: Mapped[str] = mapped_column(ForeignKey("readers.reader_id"))
    kind: Mapped[str] = mapped_column(String(16))
    choice: Mapped[int | None] = mapped_column(Integer)
    saved: Mapped[datetime] = mapped_column(UtcTime, default=now)


class AuditEntryRow(Base):
    """An entry of the audit log's chain: a security event, or the digest of a row of `response_log`, `reading_log` or
    `trial_log`. Rows are only added; `sha256` covers all other columns (see `audit_chain`)."""

    __tablename__ = "audit_entries"

    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    time: Mapped[str] = mapped_column(String(40))
    """A text, so that every database returns the characters that were hashed."""
    event: Mapped[str] = mapped_column(String(32))
    caller: Mapped[str] = mapped_column(String(300))
    reader: Mapped[str] = mapped_column(String(300))
    address: Mapped[str] = mapped_column(String(300))
    subject: Mapped[str] = mapped_column(String(300))
    outcome: Mapped[str] = mapped_column(String(300))
    digest: Mapped[str] = mapped_column(String(64))
    previous: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))


class AuditHeadRow(Base):
    """The end of the chain: one row, which is locked while entries are appended."""

    __tablename__ = "audit_head"

    head_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(Integer)
    sha256: Mapped[str] = mapped_column(String(64))
