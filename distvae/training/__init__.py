"""Training: what a step is made of, the loop around steps, and what is written down.

How a step comes about::

    loop ---- n steps, to the next event ----> planning: make_plan(engine, first, n)
     ^                                             |
     |                                             v  Plan: rows [n, B], numbers [n, S]
     |                                         advance(engine, plan), n times take_step, or what
     |                                         was recorded of it:
     |                                             rows and numbers of the step, by State.cursor
     |                                             batches of these rows; noise of (seed, step)
     |                                             update(turns, batches, numbers): for each turn
     |                                               losses, gradients, AdamW; then the average
     +------ State.found(n)  [n, M, F] <------     State.note: a row of the ring, cursor + 1

An event is an evaluation, a checkpoint, the end of the run, or a look at signals. Until then
nothing is read from the device. A plan is a pure function of the steps taken before it, so a run
that is resumed elsewhere in a block, or has other events, computes the same.

``update`` has two forms that differ in how a turn is taken: ``update`` by autograd, with whatever
Accelerate wraps, and ``whole_step`` by ``torch.func`` as one compiled graph. ``engine`` holds the
parts, ``wrapping`` what is trained, ``plan`` the tables. ``capture`` records a step on a GPU,
``recording`` says whether that can be. docs/steps.md tells it in one page.
"""
