"""What the model cache counts: who runs and who waits, how long loading takes, and what had to go."""

from services.runtime import telemetry

running = telemetry.meter.create_up_down_counter(
    "vmesh.models.num_requests_running", description="Leases open, by model"
)
waiting = telemetry.meter.create_up_down_counter(
    "vmesh.models.num_requests_waiting", description="Callers that wait for a lease, by model"
)
load_seconds = telemetry.seconds_histogram(
    "vmesh.models.load.duration", "Duration of loading a model, warm-up included, by model and outcome"
)
evictions = telemetry.meter.create_counter(
    "vmesh.models.evictions", description="Models unloaded to make room, by model"
)
quarantines = telemetry.meter.create_counter(
    "vmesh.models.quarantines", description="Models loaded afresh because memory ran out, by model"
)
recycles = telemetry.meter.create_counter(
    "vmesh.models.recycles", description="Server processes ended because memory did not come back"
)
memory_used = telemetry.meter.create_gauge(
    "vmesh.models.memory.used", unit="By", description="Memory set aside for loaded models"
)
memory_budget = telemetry.meter.create_gauge(
    "vmesh.models.memory.budget", unit="By", description="Memory that models may hold together"
)
