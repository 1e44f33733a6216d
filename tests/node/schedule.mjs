import assert from "node:assert/strict";
import { good, order, refused, resend } from "./client.mjs";

const { id } = good(await resend.emails.send({ ...order, scheduledAt: "in 1 hour" }));
assert.equal(good(await resend.emails.get(id)).last_event, "scheduled");
const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
assert.equal(good(await resend.emails.update({ id, scheduledAt: tomorrow })).id, id);
assert.equal(Date.parse(good(await resend.emails.get(id)).scheduled_at), Date.parse(tomorrow));
assert.equal(good(await resend.emails.cancel(id)).id, id);
assert.equal(good(await resend.emails.get(id)).last_event, "canceled");
assert.equal(good(await resend.emails.cancel(id)).id, id); // once more is no other
