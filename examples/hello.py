"""The smallest app there is.

Serve it and run it:

    daybook up examples
    daybook run hello.greet name=Ada --watch
"""

from daybook import App

app = App("hello")


@app.task
async def greet(name: str = "world") -> str:
    """Say hello to somebody."""
    return f"Hello, {name}!"
