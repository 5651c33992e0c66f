"""One HTTP exchange as a state machine without I/O: events in, directives out.

| modules                                          | what they have                                                  |
|--------------------------------------------------|-----------------------------------------------------------------|
| `exchange`                                       | the table of states and events, and what applies it             |
| `states`, `events`, `directives`, `jobs`         | the values of that table, and what an exchange waits for        |
| `entry`, `sending`, `outcome`                    | the steps by phase: headers, body, response                     |
| `call`                                           | what is known of the client's call, and the gateway's responses |
| `admission`, `client_headers`, `routes`, `usage` | parts of `entry`                                                |
| `translation`, `models`, `rules`                 | parts of `sending`                                              |
| `image_fetch`, `outgoing`, `side_calls`          | likewise                                                        |
| `counting`, `rate_limits`, `spending`            | when and what a call counts in limits and budgets               |
| `responses`, `local_replies`                     | the ways to respond; errors that are not Bedrock's              |
| `meter`, `budget`, `loop_time`                   | tokens and cost; bytes in flight; the event loop's time         |
| `endpoint`, and the modules `…_endpoint`         | what differs from one endpoint to another                       |
| `gateway`                                        | what all exchanges of a worker share                            |
"""
