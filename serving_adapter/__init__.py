"""Puts the approved policy in front of live engines, and takes it back when it misbehaves.

Reading guide:

1. `host`: `PolicyHost` keeps the live policy, swaps it between two decisions, never goes back;
   `admission` says which snapshots may come in, `activation` what a policy passes before that, or
   `side_process` for one in a process of its own; `deciding` is one decision with its fallbacks.
   `watchdog` takes a policy out for one of the nine reasons of `ejection`, `live` and `latches`
   keep it out, `control_arm` runs beside it, `kill_switch` stops them all.
2. `gateway`: the OpenAI-compatible door; `proxy` moves the bytes, `holding` keeps held requests,
   `engines` scrapes the engines into the rows that policies see (`instances`, `signals`, `facts`).
3. `emulator`: a local engine with the timing of a real one (`engine_model`, `engine_driver`);
   `fleet` runs several as processes, `load` replays requests against them.

`decision` and `request_log` are the records that come out, `exposition` the metrics text, `errors`
what is refused. No request text is kept anywhere: numbers are read off a body, and it is dropped.

    host = PolicyHost(InstanceTable(), registry=registry)
    gateway = Gateway(host, {"http://127.0.0.1:8001": None}, registry)
    asyncio.create_task(host.follow(home / "active.json"))
    runner = new_runner(gateway.application())
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving_adapter.emulator import Emulator, EmulatorSettings
    from serving_adapter.exposition import Registry
    from serving_adapter.fleet import EngineSpec, Fleet
    from serving_adapter.gateway import Gateway, GatewaySettings
    from serving_adapter.host import PolicyHost
    from serving_adapter.instances import InstanceFacts, InstanceTable
    from serving_adapter.load import LoadRequest, Served, replay

__all__ = [
    "Emulator",
    "EmulatorSettings",
    "EngineSpec",
    "Fleet",
    "Gateway",
    "GatewaySettings",
    "InstanceFacts",
    "InstanceTable",
    "LoadRequest",
    "PolicyHost",
    "Registry",
    "Served",
    "replay",
]

_HOMES = {
    "Emulator": "emulator",
    "EmulatorSettings": "emulator",
    "EngineSpec": "fleet",
    "Fleet": "fleet",
    "Gateway": "gateway",
    "GatewaySettings": "gateway",
    "InstanceFacts": "instances",
    "InstanceTable": "instances",
    "LoadRequest": "load",
    "PolicyHost": "host",
    "Registry": "exposition",
    "Served": "load",
    "replay": "load",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
