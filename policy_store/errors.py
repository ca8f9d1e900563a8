"""Everything the store can refuse, as one tree.

    StoreError
    |- InvalidInput        a name, note, parameter or payload that cannot be kept
    |  `- RuleRefused      a text that is no approval rule
    |- UnknownPolicy       no version has that digest
    |  `- AmbiguousPolicy  several versions share that prefix
    |- UnknownRun          no run has that id
    |- UnknownRule         no approval rule of that name is installed
    |- UnknownAccount      nobody here has that name
    |- SignInRefused       name and password do not belong together
    |- LinkSpent           a link that was used, is too old, or was never made
    |- LastAdmin           the one who could let others in again
    |- SealedBefore        a run opened its sealed windows for another candidate
    |- ForbiddenMove       the lifecycle does not allow this step
    |  `- OwnWork          nobody approves what they submitted by hand
    |- StaleDecision       somebody else decided first
    |  `- Fenced           a daemon that another one has taken over from
    |- NothingLive         there is no active policy to take back
    |- DamagedStore        stored bytes no longer match their digest
    |- StoreUnavailable    the database is locked, missing or not a database
    |- UnknownSchema       the tables are not ones this version can read
    |- BackupUnusable      a file is no backup, or not all of one
    |  `- BackupTooNew     a later version wrote it
    |- StoreNotEmpty      a backup is restored where nothing is yet
    |- KeyProblem
    |  |- KeyMissing       there is no signing key
    |  |- KeyExposed       others may read it
    |  |- KeyUnusable      it is no key, or cryptography is not installed
    |  `- TrustUnusable    the list of trusted keys cannot be read
    `- SnapshotError
       |- SnapshotMissing      no file there
       |- SnapshotDamaged      unreadable, or a digest does not match
       |- SnapshotUnsigned     nobody signed it
       |- SnapshotUntrusted    signed by a key that is not trusted
       |- SnapshotForged       changed after it was signed
       |- SnapshotMisdirected  for another deployment
       |- SnapshotStale        older than one already seen
       |- SnapshotNotYetValid  from the future
       `- SnapshotExpired      its time is over

Each message is one sentence that says what happened, then what to do next.
"""


class StoreError(Exception):
    """Base of all refusals of the policy store."""


class InvalidInput(StoreError):
    """A name, note, parameter or payload that the store does not keep."""


class RuleRefused(InvalidInput):
    """A text is no approval rule; `line` says where."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"Line {line} of the rule: {what}")
        self.line = line


class UnknownPolicy(StoreError):
    """No policy version has the digest asked for."""


class AmbiguousPolicy(UnknownPolicy):
    """Several policy versions start with the digits given."""


class UnknownRun(StoreError):
    """No run has the id asked for."""


class UnknownAccount(StoreError):
    """Nobody here has the name asked for."""


class SignInRefused(StoreError):
    """Somebody could not be told to be who they say; never says why in more detail."""


class LinkSpent(StoreError):
    """A link that was used, is too old, or was never made."""


class LastAdmin(StoreError):
    """Without this admin nobody could let anybody in."""


class UnknownRule(StoreError):
    """No approval rule of the name asked for is installed."""


class SealedBefore(StoreError):
    """The run's sealed windows were opened before, for another candidate."""


class ForbiddenMove(StoreError):
    """The lifecycle has no such step from the policy's present state."""


class OwnWork(ForbiddenMove):
    """Who decides submitted the policy by hand."""


class StaleDecision(StoreError):
    """The decision was made looking at a state that has since changed."""


class Fenced(StaleDecision):
    """Another process has taken the lease over under which this one wants to write."""


class NothingLive(StoreError):
    """There is no active policy to take back."""


class DamagedStore(StoreError):
    """Stored bytes no longer match the digest they are filed under."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, is locked for too long, or is not a database."""


class UnknownSchema(StoreError):
    """The database holds tables that this version cannot read."""


class BackupUnusable(StoreError):
    """A file is no backup of a store, or is damaged, cut short or contradicts itself."""


class BackupTooNew(BackupUnusable):
    """A later version than this one wrote the backup."""


class StoreNotEmpty(StoreError):
    """There is something where a backup was to be restored."""


class NotPublished(StoreError):
    """A decision stands, and the file that hosts follow could not be written."""


class KeyProblem(StoreError):
    """A key, or the list of trusted ones, cannot be used."""


class KeyMissing(KeyProblem):
    """There is no signing key in the folder."""


class KeyExposed(KeyProblem):
    """Others than its owner may read the signing key."""


class KeyUnusable(KeyProblem):
    """What should be a signing key is none, or nothing here can use one."""


class TrustUnusable(KeyProblem):
    """The list of trusted keys is damaged, or everybody may write it."""


class SnapshotError(StoreError):
    """The active snapshot file cannot be used."""


class SnapshotMissing(SnapshotError):
    """There is no snapshot file at the path."""


class SnapshotDamaged(SnapshotError):
    """The snapshot cannot be parsed, or what it carries does not match its digests."""


class SnapshotStale(SnapshotError):
    """The snapshot's sequence is lower than one already seen."""


class SnapshotUnsigned(SnapshotError):
    """The snapshot carries no signature."""


class SnapshotUntrusted(SnapshotError):
    """The key that signed the snapshot is not among the trusted ones."""


class SnapshotForged(SnapshotError):
    """The signature does not belong to what the snapshot says."""


class SnapshotMisdirected(SnapshotError):
    """The snapshot is for another deployment than this one."""


class SnapshotNotYetValid(SnapshotError):
    """The snapshot's time has not come, by the clock of this machine."""


class SnapshotExpired(SnapshotError):
    """The snapshot's time is over, by the clock of this machine."""
