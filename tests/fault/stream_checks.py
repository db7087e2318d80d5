"""What must hold of streams of writes. The check returns the violations it found, as sentences."""


def places_in(final):
    """({value: its place}, what is wrong): `final` are the names of all znodes that streams have created."""
    places, violations = {}, []
    for name in final:
        value, place = name.rsplit("-", 1)
        if value in places:
            violations.append(f"{value} is there twice, at {places[value]} and {place}")
        places[value] = int(place)
    return places, violations


def check_streams(history, final):
    """The writes of a stream take effect in the order in which they were sent, each once. Those that were answered are
    where the answer says. Of those that were not, a first part is there, or nothing, if the stream's end said so."""
    places, violations = places_in(final)
    streams = [record for record in history if record["f"] == "stream"]
    sent = {value for stream in streams for value in stream["sent"]}
    violations += [f"{value} is there, which nobody sent" for value in places if value not in sent]
    answered = {}  # client -> the highest place that it was told of before its latest stream
    for stream in streams:
        violations += [f'{stream["client"]}, at node {stream["node"]}: {what}'
                       for what in _check_stream(stream, places, answered.get(stream["client"], -1))]
        told = [_place(result) for result in stream["results"] if result["outcome"] == "ok"]
        answered[stream["client"]] = max([answered.get(stream["client"], -1), *told])
    return violations


def _place(result):
    return int(result["path"].rsplit("-", 1)[1])


def _check_stream(stream, places, place):
    """`place`: everything in the stream comes behind that."""
    sent, results = stream["sent"], stream["results"]
    if stream["outcome"] == "ok" and len(results) < len(sent):
        yield f"{len(sent) - len(results)} of {len(sent)} writes have no answer, and the stream ended well"
    if len(results) > len(sent):
        yield f"{len(results)} answers to {len(sent)} writes"
    index, missing = 0, None
    for number, value in enumerate(sent):
        result = results[number] if number < len(results) else None
        at = places.get(value)
        if result is not None and result["outcome"] == "ok":
            if at != _place(result):
                yield f'{value} was created as {result["path"]} and is at {at}'
            if result["index"] <= index:
                yield f'{value} was created at index {result["index"]}, and the one before it at {index}'
            index = result["index"]
        elif result is not None or stream["outcome"] == "none":
            if at is not None:
                yield f'{value} certainly had no effect ({(result or stream)["outcome"]}) and is at {at}'
            continue
        if at is None:
            missing = missing or value
            continue
        if missing is not None:
            yield f"{value} is there, and {missing}, sent before it, is not"
        if at <= place:
            yield f"{value} is at {at}, and one sent before it at {place}"
        place = at
