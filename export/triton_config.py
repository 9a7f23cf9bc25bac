"""The encoder's `config.pbtxt`: everything explicit, nothing left to auto-completion.

It holds only what Triton's own `onnxruntime` backend accepts, so that the same folder is served by it and by the local
stack's backend of that name.
"""

from dataclasses import dataclass

MAX_QUEUE_SIZE = 64
"""Requests that may wait for the encoder, per priority; a further one is rejected at once."""

QUEUE_TIMEOUT_US = 600_000_000
"""How long a request may wait before it is rejected. A request's own timeout, which the service sends, is shorter."""

QUEUE_DELAY_US = 2_000
"""How long a first request waits for company: far below one encoding, long enough to fill a batch under load."""


@dataclass(frozen=True)
class EncoderConfig:
    """`side`: S; `channels`, `grid`: the embedding is [channels, grid, grid]; `precision`: `fp32` or `fp16`,
    of the embedding."""

    name: str
    version: str
    side: int
    channels: int
    grid: int
    max_batch_size: int
    precision: str


def render(config: EncoderConfig) -> str:
    """The text of `config.pbtxt`. Two priority levels: 1 for people who wait, 2 for batch work."""
    kind = f"TYPE_{config.precision.upper()}"
    return f"""\
# Written by `python -m export {config.name}`; a change here is lost with the next export.
name: "{config.name}"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {config.max_batch_size}
input [
  {{ name: "image" data_type: TYPE_UINT8 dims: [ {config.side}, {config.side}, 3 ] }},
  {{ name: "size" data_type: TYPE_INT32 dims: [ 2 ] }}
]
output [ {{ name: "embedding" data_type: {kind} dims: [ {config.channels}, {config.grid}, {config.grid} ] }} ]
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group [ {{ kind: KIND_AUTO count: 1 }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {QUEUE_DELAY_US}
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {QUEUE_TIMEOUT_US}
    allow_timeout_override: true
    max_queue_size: {MAX_QUEUE_SIZE}
  }}
}}
model_warmup [
  {{
    name: "one picture"
    batch_size: 1
    inputs {{
      key: "image"
      value: {{ data_type: TYPE_UINT8 dims: [ {config.side}, {config.side}, 3 ] random_data: true }}
    }}
    inputs {{ key: "size" value: {{ data_type: TYPE_INT32 dims: [ 2 ] zero_data: true }} }}
  }}
]
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "0" }} }}
parameters {{ key: "inter_op_thread_count" value: {{ string_value: "1" }} }}
parameters {{ key: "session.intra_op.allow_spinning" value: {{ string_value: "0" }} }}
parameters {{ key: "version" value: {{ string_value: "{config.version}" }} }}
"""
