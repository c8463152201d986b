"""How requests leave this machine: through which proxy, at which pace, and when they are sent again.

Retries and polls are different things. A *retry policy* sends one request again. *Polls* wait until people or a job of
the tool have done something; they are not retries. Polls for people keep the pace of
:class:`~airflow_annotation.transport.pacing.RequestPace`. Polls for a job of the tool wait longer each time.

What is sent again, from the innermost layer to the outermost:

===================================  ============================================  =====================================
Where                                What is sent again                            When, and how often
===================================  ============================================  =====================================
:func:`~.retries.retry_policy`       one request of httpx: the tools' APIs and     No connection, 429; if it is
                                     media hosts                                   repeatable, also a cut connection, a
                                                                                   time-out, 5xx. ``attempts`` times,
                                                                                   300 s at most, as Retry-After says
:func:`~.retries.sdk_retry_policy`   one request of an SDK that uses requests      No connection, 429. ``attempts``
                                     (Labelbox's)                                  times, as Retry-After says
a loop that checks first             work that must not arrive twice: bulk         A temporary failure of the request
                                     requests (``hooks/late_requests.py``), the     above; then the tool is asked what
                                     tools' own jobs (``labelbox/tasks.py``),      has arrived, or the read continues
                                     media read in parts (``media/ranges.py``)     where it stopped. 3 to 5 times
Airflow's ``retries``                the task                                      All of the above has failed
===================================  ============================================  =====================================
"""
