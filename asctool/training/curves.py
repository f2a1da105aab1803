"""What there is to look at of a training: its curves as a picture, and its history as TensorBoard reads it."""

import io
from typing import Any


def picture(history: list[dict[str, Any]]) -> bytes:
    """Loss and accuracies by epoch, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history])
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    for name in history[0]:
        if name.endswith(("accuracy", "lwlrap")):
            label = "training rows (mixed, if any are)" if name == "accuracy" else name.replace("_", " ")
            right.plot(epochs, [row[name] for row in history], label=label)
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
    right.legend(loc="lower right", fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def events(history: list[dict[str, Any]]) -> bytes:
    """The history as TensorBoard reads it; of a longer one the beginning is the same, so that it follows a training.

    Its clock is the time spent on epochs: a training that goes on after a pause shows none.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer, seconds = io.BytesIO(), 0.0
    writer = RecordWriter(buffer)
    writer.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
    for row in history:
        seconds += row["seconds"]
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "epoch"]
        event = Event(wall_time=seconds, step=row["epoch"], summary=Summary(value=values))
        writer.write(event.SerializeToString())
    return buffer.getvalue()
