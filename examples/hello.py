"""Ten lines: two steps, one pipeline, everything on record. Run it twice, then `ashore runs` and `ashore show @last`."""

from ashore import Handle, pipeline, run, step


@step
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@step
def count(greeting: str) -> dict[str, int]:
    return {"letters": len(greeting)}


@pipeline
def hello(name: str = "world") -> Handle[dict[str, int]]:
    return count(greet(name))


if __name__ == "__main__":
    print(run(hello()))
