/* Runs a program and writes its exit code, as Windows tells it, into a file. Wine ends the process that it made for a
 * program on its own: late on a busy machine, by a signal, after the program has ended with its code.
 *
 *   exit_code FILE PROGRAM [ARGUMENT…]
 *
 * The program shares standard streams, and ends when this process is killed.
 */
#include <stdio.h>
#include <windows.h>

/* The command line after its first word, which holds no escaped quotes: a path. */
static WCHAR *after_word(WCHAR *line)
{
    int quoted = 0;
    for (; *line && (quoted || *line != ' '); line++)
        if (*line == '"')
            quoted = !quoted;
    while (*line == ' ')
        line++;
    return line;
}

int main(int count, char **arguments)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = { 0 };
    STARTUPINFOW start = { 0 };
    PROCESS_INFORMATION started;
    DWORD code = 0;
    HANDLE job = CreateJobObjectW(NULL, NULL);

    if (count < 3 || !job)
        return 97;
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if (!SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits))
        return 98;
    start.cb = sizeof start;
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(NULL, after_word(after_word(GetCommandLineW())), NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL,
                        &start, &started))
        return 99;
    if (!AssignProcessToJobObject(job, started.hProcess))
        return 100;
    ResumeThread(started.hThread);
    WaitForSingleObject(started.hProcess, INFINITE);
    GetExitCodeProcess(started.hProcess, &code);
    FILE *file = fopen(arguments[1], "w");
    if (!file)
        return 101;
    fprintf(file, "%lu", code);
    return fclose(file) ? 101 : 0;
}
