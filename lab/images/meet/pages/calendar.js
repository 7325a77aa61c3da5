// Shows the user's newest mails, as kapi gives them.

import { Login, head, item, json, report } from "./oidc.js";

const SCOPE = "openid profile email kopano/gc";

function moment(value) {
  const time = document.createElement("time");
  time.dateTime = value;
  time.textContent = new Date(value).toLocaleString();
  return time;
}

function preview(value) {
  const text = document.createElement("div");
  text.className = "preview";
  text.textContent = value;
  return text;
}

async function start() {
  const config = await json("/api/config/v1/kopano/calendar/config.json");
  const session = await head(new Login(config, "/calendar/", SCOPE));
  if (!session) return;
  const asked = (path) => json(config.apiPrefix + path, { headers: { Authorization: `Bearer ${session.token}` } });
  document.getElementById("name").textContent = (await asked("/me")).displayName;
  document.getElementById("mails").hidden = false;
  const mails = (await asked("/me/messages?$top=10")).value;
  for (const mail of mails) {
    const sender = mail.from?.emailAddress.name || "unknown sender";
    item("mail-list", `${mail.subject || "(no subject)"} - ${sender} `, moment(mail.receivedDateTime), preview(mail.bodyPreview));
  }
  if (!mails.length) item("mail-list", "The inbox is empty.");
}

start().catch(report);
