"""When a request is sent again. The package's docstring has the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
from httpx_retries import Retry

from airflow_annotation.exceptions import AnnotationAnswerError

if TYPE_CHECKING:
    import urllib3

_METHODS: Final = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE")


def retry_policy(*, repeatable: bool, attempts: int) -> Retry:
    """Return the policy that says when and how often a request is sent again.

    :param repeatable: whether it does no harm to send the request twice; if not, it is sent again only if the server
        cannot have acted on it
    :param attempts: maximum number of retries
    """
    return Retry(
        total=attempts,
        allowed_methods=_METHODS,
        backoff_factor=0.25,
        backoff_jitter=0.5,
        max_backoff_wait=120,
        total_timeout=300,
        status_forcelist=(429, 500, 502, 503, 504) if repeatable else (429,),
        retry_on_exceptions=(
            (
                httpx.TimeoutException,
                httpx.NetworkError,
                httpx.RemoteProtocolError,
                httpx.DecodingError,
                AnnotationAnswerError,
            )
            if repeatable
            else (httpx.ConnectError, httpx.ConnectTimeout)
        ),
    )


def sdk_retry_policy(*, attempts: int) -> urllib3.Retry:
    """Return the policy for an SDK that uses requests: a request is sent again if the server has not acted on it.

    :param attempts: maximum number of retries
    """
    import urllib3

    return urllib3.Retry(
        total=attempts,
        read=0,
        other=0,
        allowed_methods=None,
        status_forcelist=(429,),
        backoff_factor=0.5,
        backoff_jitter=0.5,
        raise_on_status=False,
    )
