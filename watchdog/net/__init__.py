"""HTTP for everybody who asks: one client, one policy, one kind of error; addresses and secrets.

`http` sends a request, `fetch` reads a page every second: both keep to a total deadline and a number of bytes, follow no
redirects, use no proxy and no .netrc of the environment, and raise the HttpError of `errors`.
"""
