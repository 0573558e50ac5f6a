"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Flights = exports.Flight = void 0;
/**
 * Single flight: of those who miss the same result at the same time, one computes it.
 *
 * A caller may take the result of a flight only if nothing was heard between the moment
 * the flight asked for its versions and the moment the caller came, that these versions
 * lack. Otherwise it would get a result older than what this process had heard before the
 * call.
 *
 * A loader may ask for other results, so flights wait for flights. One that would wait for
 * itself, in whatever roundabout way, computes its result by itself instead.
 */
const node_async_hooks_1 = require("node:async_hooks");
/** Joined before the flight asked for its versions: they lack nothing heard by then. */
const BEFORE = -1;
/** One computation that others may wait for. */
class Flight {
    ticket = null;
    /** null: not known, or no proof */
    parts = null;
    succeeded = false;
    shareable = true;
    value;
    endedOutdated = false;
    waitsFor = new Set();
    over;
    end;
    constructor() {
        this.over = new Promise((resolve) => {
            this.end = resolve;
        });
    }
}
exports.Flight = Flight;
class Flights {
    core;
    flying = new Map();
    /** The flights that the current context is computing, the innermost last. */
    mine = new node_async_hooks_1.AsyncLocalStorage();
    constructor(core) {
        this.core = core;
    }
    /** A flight to wait for, with when it was joined; undefined: start one. */
    join(name) {
        const flight = this.flying.get(name);
        if (flight === undefined || !this.mayJoin(flight))
            return undefined;
        return { flight, joinedAt: flight.ticket === null ? BEFORE : this.core.ticket().sequence };
    }
    /** Waits until the flight is over. */
    async wait(flight) {
        const waiting = this.mine.getStore()?.at(-1);
        waiting?.waitsFor.add(flight);
        try {
            await flight.over;
        }
        finally {
            waiting?.waitsFor.delete(flight);
        }
    }
    /** Flies: others may join until it is over. */
    async fly(name, compute) {
        const flight = new Flight();
        this.flying.set(name, flight);
        try {
            const value = await this.mine.run([...(this.mine.getStore() ?? []), flight], () => compute(flight));
            flight.value = value;
            flight.succeeded = true;
            return value;
        }
        finally {
            if (this.flying.get(name) === flight)
                this.flying.delete(name);
            if (flight.ticket !== null)
                flight.endedOutdated = this.core.outdated(flight.ticket, flight.parts);
            flight.end();
        }
    }
    /** Whether somebody who joined at this number may take the result. */
    mayUse(flight, joinedAt) {
        if (!flight.succeeded || !flight.shareable || flight.ticket === null)
            return false;
        if (joinedAt === BEFORE)
            return true;
        // Without versions nothing tells whether it lacks what the caller had heard.
        if (flight.parts === null)
            return false;
        return !flight.endedOutdated || joinedAt <= flight.ticket.sequence;
    }
    mayJoin(flight) {
        const mine = this.mine.getStore() ?? [];
        const seen = new Set();
        const follow = [flight];
        for (let next = follow.pop(); next !== undefined; next = follow.pop()) {
            if (mine.includes(next))
                return false;
            if (!seen.has(next)) {
                seen.add(next);
                follow.push(...next.waitsFor);
            }
        }
        if (flight.ticket === null)
            return true;
        return !this.core.outdated(flight.ticket, flight.parts);
    }
}
exports.Flights = Flights;
