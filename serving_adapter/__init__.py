"""Puts the approved policy in front of live engines, and takes it back when it misbehaves.

Reading guide:

1. `host`: `PolicyHost` keeps the live policy, swaps it between two decisions, never goes back;
   `admission` says which snapshots may come in, `activation` what a policy passes before that;
   `live` is what decides, `live_slot` the one place where it changes, `deciding` one decision with
   its fallbacks, `instances`, `signals` and `facts` the rows that a policy sees.
   `control_plane` asks a store for snapshots and reports to it, `decision_replay` makes a kept
   decision again.
2. `safety`: the watchdog takes a policy out for one of the reasons of `ejection`, latches keep it
   out, a control arm runs beside it, a kill switch stops them all. `side`: policies in processes of
   their own.
3. `gateway`: the OpenAI-compatible door; `answering` is the life of a request, `proxy` moves the
   bytes, `holding` keeps held requests, `engines` scrapes the engines, `upstream` leaves the bytes
   to another gateway; `listening` and `access` say who may come in. `tracing` has the spans.
   `picker`: the door behind Envoy. `litellm_router`: deployments of LiteLLM's Router.
4. `emulation`: a local engine with the timing of a real one; `fleet` runs several as processes,
   `load` replays requests against them, `faults` is what may go wrong with them.
5. `planning`: asks the live policy for plans, off the data path; `actuators` carries them out on
   processes and on Kubernetes, `ray_serve` inside Ray Serve, with routing and replica counts.
6. `engine_hooks`: order, admission and token budget inside an engine; `vllm_scheduler` puts them
   into vLLM.

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
    from serving_adapter.emulation.emulator import Emulator, EmulatorSettings
    from serving_adapter.emulation.fleet import EngineSpec, Fleet
    from serving_adapter.emulation.load import LoadRequest, Served, replay
    from serving_adapter.exposition import Registry
    from serving_adapter.gateway.gateway import Gateway, GatewaySettings
    from serving_adapter.host import PolicyHost
    from serving_adapter.instances import InstanceFacts, InstanceTable

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
    "Emulator": "emulation.emulator",
    "EmulatorSettings": "emulation.emulator",
    "EngineSpec": "emulation.fleet",
    "Fleet": "emulation.fleet",
    "Gateway": "gateway.gateway",
    "GatewaySettings": "gateway.gateway",
    "InstanceFacts": "instances",
    "InstanceTable": "instances",
    "LoadRequest": "emulation.load",
    "PolicyHost": "host",
    "Registry": "exposition",
    "Served": "emulation.load",
    "replay": "emulation.load",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
