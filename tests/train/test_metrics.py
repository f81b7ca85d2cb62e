from opendojo.train.metrics import Metrics, read_metrics


def row(step):
    return {"step": step, "seconds": 2.0 * step, "cpu_seconds": 3.0 * step}


def test_a_resumed_file_holds_no_step_twice_and_keeps_the_time_spent(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Metrics(path, 0)
    for step in range(1, 8):
        first.write(row(step))
    first.close()
    with path.open("a") as file:
        file.write('{"step": 8, "seco')
    second = Metrics(path, 5)
    assert second.spent == {"seconds": 14.0, "cpu_seconds": 21.0}
    second.write(row(6))
    second.close()
    assert [r["step"] for r in read_metrics(path)] == [1, 2, 3, 4, 5, 6]


def test_rows_are_visible_at_once(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.write(row(1))
    assert read_metrics(tmp_path / "metrics.jsonl") == [row(1)]
    metrics.close()
    assert read_metrics(tmp_path / "nowhere.jsonl") == []
